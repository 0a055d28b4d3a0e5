"""`binauthz-attest emulator`."""

from __future__ import annotations

import shlex
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

import typer

from step.cli.command import WithCommand, command_of, run
from step.cli.options import app_of, plain_option
from step.cli.streams import require_printed
from step.clock import parse_duration
from step.errors import BadInput

if TYPE_CHECKING:
    from step.emulator import AdmissionPort, Emulator, Seed

_HINT = "docs/emulator.md has the form of the seed, of faults, and what can be listened on."
# https://cloud.google.com/sdk/gcloud/reference/config/set: api_endpoint_overrides
_GCLOUD_APIS = ("BINARYAUTHORIZATION", "CLOUDBUILD", "CLOUDKMS", "CONTAINERANALYSIS")
_GCLOUD_PROJECT = "CLOUDSDK_CORE_PROJECT"
# As curl, Python and gRPC read them; the lower case comes first where both are set.
_PROXIES = (
    *("http_proxy", "https_proxy", "all_proxy", "grpc_proxy"),
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"),
)
_NOT_BY_PROXY = ("no_proxy", "NO_PROXY")


@dataclass(frozen=True, slots=True)
class EmulatorOptions:
    """What is served, where, and what goes wrong on request."""

    seed: Path | None = plain_option(
        "YAML: projects, keys, notes, attestors, policies, builds, occurrences.", "FILE"
    )
    host: str = plain_option("Loopback address to listen on.", "HOST", "127.0.0.1")
    port: int = plain_option("Port of the gRPC side; 0 for a free one.", "PORT", 0)
    rest_port: int = plain_option("Port of the REST side; 0 for a free one.", "PORT", 0)
    admission_port: int | None = plain_option(
        "Serve the admission endpoint for Kubernetes there, by HTTPS; 0 for a free port.", "PORT"
    )
    admission_host: str = plain_option(
        "Address of the admission endpoint. It need not be loopback, so that a cluster in "
        "containers reaches it: it answers by policy, reads nothing else and writes nothing, but "
        "tells whoever asks what may run.",
        "HOST",
        "127.0.0.1",
    )
    admission_ca_file: Path | None = plain_option(
        "Write there, as PEM, whom clients of the admission endpoint must trust.", "FILE"
    )
    tls_certificate_file: Path | None = plain_option(
        "PEM certificate chain of the admission endpoint; else one is made at the start.", "FILE"
    )
    tls_key_file: Path | None = plain_option("PEM private key of that certificate.", "FILE")
    visibility_delay: str = plain_option(
        "How long a new occurrence is missing from lists.", "DURATION", "0s"
    )
    latency: str = plain_option("How long every call takes.", "DURATION", "0s")
    fault: list[str] | None = plain_option(
        "Make a method fail, for example AsymmetricSign=UNAVAILABLE:2, or *=UNAVAILABLE:1%. "
        "Repeatable.",
        "METHOD=WHAT[:HOW OFTEN]",
    )
    call_log: Path | None = plain_option("Append every call as a line of JSON.", "FILE")
    ready_file: Path | None = plain_option("Write the ports as JSON when ready.", "FILE")

    def admission(self) -> AdmissionPort | None:
        """Where the admission endpoint is; raises BadInput for what is said of none."""
        from step.emulator import AdmissionPort

        files = (self.tls_certificate_file, self.tls_key_file, self.admission_ca_file)
        if self.admission_port is not None:
            return AdmissionPort(self.admission_port, self.admission_host, *files)
        if any(files):
            raise BadInput("the admission endpoint is not served", "Give --admission-port too.")
        return None


def emulator(context: typer.Context, options: EmulatorOptions) -> None:
    """Serve the APIs of Google Cloud that are used here, on loopback.

    These are Cloud KMS, Binary Authorization, Container Analysis, Cloud Build, and what bulk work
    needs of Cloud Storage. COMMAND is run with the variables by which every verb, and gcloud, uses
    them; its end is the emulator's end, and its exit code too. Without COMMAND the variables go to
    standard output, for a shell to source, and the emulator runs until Ctrl-C. Nothing is kept, no
    credentials are asked for, and it listens on loopback only, but for the admission endpoint where
    that is asked for: there a cluster asks whether an image may run.
    """
    from step.emulator import Emulator, EmulatorError, Fault, Seed

    command = command_of(context)
    environ: Mapping[str, str] = context.obj.environ
    admission = options.admission()
    stop = Event()
    if not command:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stop.set())
    try:
        seed = Seed.load(options.seed) if options.seed else Seed()
        with Emulator(
            seed,
            visibility_delay=parse_duration(options.visibility_delay, "--visibility-delay"),
            latency=parse_duration(options.latency, "--latency"),
            faults=[Fault.parse(text) for text in options.fault or ()],
            call_log=options.call_log,
            host=options.host,
            port=options.port,
            rest_port=options.rest_port,
            admission=admission,
        ) as running:
            variables = environment_for(running, seed, environ)
            if admission:
                variables["BINAUTHZ_EMULATOR_ADMISSION_URL"] = running.admission_address
            if not command:
                _print(variables)
            if options.ready_file:
                running.write_ready_file(options.ready_file)
            if command:
                raise typer.Exit(run(command, {**environ, **variables}))
            stop.wait()
    except EmulatorError as error:
        raise BadInput(str(error), _HINT) from None


app = app_of(emulator, WithCommand)


def environment_for(running: Emulator, seed: Seed, environ: Mapping[str, str]) -> dict[str, str]:
    """What leads our verbs, gcloud and curl to the emulator, and nobody past it to a proxy."""
    variables = {"BINAUTHZ_EMULATOR_HOST": running.grpc_address}
    for api in _GCLOUD_APIS:
        override = f"CLOUDSDK_API_ENDPOINT_OVERRIDES_{api}"
        variables[override] = f"http://{running.rest_address}/"
    # As Google's own client libraries read it.
    variables["STORAGE_EMULATOR_HOST"] = f"http://{running.rest_address}"
    variables["CLOUDSDK_AUTH_DISABLE_CREDENTIALS"] = "true"  # else gcloud wants an account
    if len(seed.project_ids) == 1 and not environ.get(_GCLOUD_PROJECT):
        [variables[_GCLOUD_PROJECT]] = seed.project_ids
    if any(environ.get(name) for name in _PROXIES):
        host = running.rest_address.rpartition(":")[0].strip("[]")
        lower, upper = (environ.get(name, "") for name in _NOT_BY_PROXY)
        for name, known in zip(_NOT_BY_PROXY, (lower or upper, upper or lower), strict=True):
            # An asterisk stands for every host where it stands alone.
            variables[name] = known if known == "*" else ",".join(filter(None, (known, host)))
    return variables


def _print(variables: Mapping[str, str]) -> None:
    """Write them for a shell to source; BadInput where standard output is full or closed."""
    for name, value in variables.items():
        sys.stdout.write(f"{name}={shlex.quote(value)}\n")
    require_printed()
