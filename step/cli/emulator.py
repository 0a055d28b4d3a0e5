"""`binauthz-attest emulator`."""

from __future__ import annotations

import shlex
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Annotated

import typer

from step.cli.command import WithCommand, command_of, run
from step.cli.options import app_of
from step.cli.streams import require_printed
from step.clock import parse_duration
from step.errors import BadInput

if TYPE_CHECKING:
    from step.emulator import Emulator, Seed

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


def emulator(
    context: typer.Context,
    seed: Annotated[
        Path | None,
        typer.Option(
            "--seed",
            metavar="FILE",
            help="YAML: projects, keys, notes, attestors, policies, builds, occurrences.",
        ),
    ] = None,
    host: Annotated[
        str, typer.Option("--host", metavar="HOST", help="Loopback address to listen on.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", metavar="PORT", help="Port of the gRPC side; 0 for a free one.")
    ] = 0,
    rest_port: Annotated[
        int,
        typer.Option(
            "--rest-port", metavar="PORT", help="Port of the REST side; 0 for a free one."
        ),
    ] = 0,
    admission_port: Annotated[
        int | None,
        typer.Option(
            "--admission-port",
            metavar="PORT",
            help="Serve the admission endpoint for Kubernetes there, by HTTPS; 0 for a free port.",
        ),
    ] = None,
    admission_host: Annotated[
        str,
        typer.Option(
            "--admission-host",
            metavar="HOST",
            help="Address of the admission endpoint. It need not be loopback, so that a cluster in "
            "containers reaches it: it answers by policy, reads nothing else and writes nothing, "
            "but tells whoever asks what may run.",
        ),
    ] = "127.0.0.1",
    admission_ca_file: Annotated[
        Path | None,
        typer.Option(
            "--admission-ca-file",
            metavar="FILE",
            help="Write there, as PEM, whom clients of the admission endpoint must trust.",
        ),
    ] = None,
    tls_certificate_file: Annotated[
        Path | None,
        typer.Option(
            "--tls-certificate-file",
            metavar="FILE",
            help="PEM certificate chain of the admission endpoint; else one is made at the start.",
        ),
    ] = None,
    tls_key_file: Annotated[
        Path | None,
        typer.Option("--tls-key-file", metavar="FILE", help="PEM private key of that certificate."),
    ] = None,
    visibility_delay: Annotated[
        str,
        typer.Option(
            "--visibility-delay",
            metavar="DURATION",
            help="How long a new occurrence is missing from lists.",
        ),
    ] = "0s",
    latency: Annotated[
        str, typer.Option("--latency", metavar="DURATION", help="How long every call takes.")
    ] = "0s",
    fault: Annotated[
        list[str] | None,
        typer.Option(
            "--fault",
            metavar="METHOD=WHAT[:COUNT]",
            help="Make a method fail, for example AsymmetricSign=UNAVAILABLE:2. Repeatable.",
        ),
    ] = None,
    call_log: Annotated[
        Path | None,
        typer.Option("--call-log", metavar="FILE", help="Append every call as a line of JSON."),
    ] = None,
    ready_file: Annotated[
        Path | None,
        typer.Option("--ready-file", metavar="FILE", help="Write the ports as JSON when ready."),
    ] = None,
) -> None:
    """Serve the APIs of Google Cloud that are used here, on loopback.

    These are Cloud KMS, Binary Authorization, Container Analysis and Cloud Build. COMMAND is run
    with the variables by which every verb, and gcloud, uses them; its end is the emulator's end,
    and its exit code too. Without COMMAND the variables go to standard output, for a shell to
    source, and the emulator runs until Ctrl-C. Nothing is kept, no credentials are asked for, and
    it listens on loopback only, but for the admission endpoint where that is asked for: there a
    cluster asks whether an image may run.
    """
    from step.emulator import AdmissionPort, Emulator, EmulatorError, Fault, Seed

    command = command_of(context)
    environ: Mapping[str, str] = context.obj.environ
    admission = None
    if admission_port is not None:
        admission = AdmissionPort(
            admission_port, admission_host, tls_certificate_file, tls_key_file, admission_ca_file
        )
    elif admission_ca_file or tls_certificate_file or tls_key_file:
        raise BadInput("the admission endpoint is not served", "Give --admission-port too.")
    stop = Event()
    if not command:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stop.set())
    try:
        planted = Seed.load(seed) if seed else Seed()
        with Emulator(
            planted,
            visibility_delay=parse_duration(visibility_delay, "--visibility-delay"),
            latency=parse_duration(latency, "--latency"),
            faults=[Fault.parse(text) for text in fault or ()],
            call_log=call_log,
            host=host,
            port=port,
            rest_port=rest_port,
            admission=admission,
        ) as running:
            variables = environment_for(running, planted, environ)
            if admission:
                variables["BINAUTHZ_EMULATOR_ADMISSION_URL"] = running.admission_address
            if not command:
                _print(variables)
            if ready_file:
                running.write_ready_file(ready_file)
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
