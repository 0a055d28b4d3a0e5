"""`binauthz-attest emulator`."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from threading import Event
from typing import Annotated

import typer

from step.clock import parse_duration
from step.errors import BadInput

_HINT = "docs/emulator.md has the form of the seed, of faults, and what can be listened on."
# https://cloud.google.com/sdk/gcloud/reference/config/set: api_endpoint_overrides
_GCLOUD_APIS = ("BINARYAUTHORIZATION", "CLOUDBUILD", "CLOUDKMS", "CONTAINERANALYSIS")


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

    These are Cloud KMS, Binary Authorization, Container Analysis and Cloud Build. Every verb uses
    them when BINAUTHZ_EMULATOR_HOST is set to what is printed, and gcloud when its endpoint
    overrides are. Nothing is kept, no credentials are asked for, and it listens on loopback only,
    but for the admission endpoint where that is asked for: there a cluster asks whether an image
    may run.
    """
    from step.emulator import AdmissionPort, Emulator, EmulatorError, Fault, Seed
    from step.reporting.console import Terminal

    admission = None
    if admission_port is not None:
        admission = AdmissionPort(
            admission_port, admission_host, tls_certificate_file, tls_key_file, admission_ca_file
        )
    elif admission_ca_file or tls_certificate_file or tls_key_file:
        raise BadInput("the admission endpoint is not served", "Give --admission-port too.")
    terminal = Terminal(sys.stdout, sys.stderr, context.obj.environ)
    stop = Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        with Emulator(
            Seed.load(seed) if seed else None,
            visibility_delay=parse_duration(visibility_delay, "--visibility-delay"),
            latency=parse_duration(latency, "--latency"),
            faults=[Fault.parse(text) for text in fault or ()],
            call_log=call_log,
            host=host,
            port=port,
            rest_port=rest_port,
            admission=admission,
        ) as running:
            terminal.remark(f"BINAUTHZ_EMULATOR_HOST={running.grpc_address}")
            for api in _GCLOUD_APIS:
                override = f"CLOUDSDK_API_ENDPOINT_OVERRIDES_{api}"
                terminal.remark(f"{override}=http://{running.rest_address}/")
            if admission:
                terminal.remark(f"admission endpoint: {running.admission_address}")
            if ready_file:
                running.write_ready_file(ready_file)
            stop.wait()
    except EmulatorError as error:
        raise BadInput(str(error), _HINT) from None
