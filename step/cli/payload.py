"""`binauthz-attest payload`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from step.cli import options as opt
from step.cli.groups import app_of
from step.cli.streams import require_printed
from step.errors import BadInput
from step.model.image import ImageRef
from step.model.payload import SIMPLE_SIGNING, Payload, pae


def payload(
    image: Annotated[
        str | None,
        typer.Argument(metavar="IMAGE", help="registry/repository@sha256:…", show_default=False),
    ] = None,
    pae_encode: Annotated[
        bool, typer.Option("--pae", help="Print DSSE's pre-authentication encoding of it.")
    ] = False,
    dsse_type: Annotated[
        str, typer.Option("--dsse-type", metavar="TYPE", help="The payload type for --pae.")
    ] = SIMPLE_SIGNING,
    artifact_url: opt.ArtifactUrl = None,
) -> None:
    """Print the bytes to sign for an image, to sign them elsewhere. Asks nobody.

    They are those of gcloud container binauthz create-signature-payload.
    """
    if not (image or artifact_url):
        raise BadInput("no image was given", "Give registry/repository@sha256:….")
    data = Payload.of(ImageRef.parse(image or artifact_url or "")).to_bytes()
    sys.stdout.buffer.write(pae(dsse_type, data) if pae_encode else data)
    require_printed()


app = app_of(payload)
