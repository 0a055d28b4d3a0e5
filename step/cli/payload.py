"""`binauthz-attest payload`."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from step.cli.options import alias, app_of, argument, plain_option
from step.cli.streams import require_printed
from step.errors import BadInput
from step.model.image import ImageRef
from step.model.payload import SIMPLE_SIGNING, Payload, pae


@dataclass(frozen=True, slots=True)
class PayloadOptions:
    """What is to be signed, and in which envelope."""

    image: str | None = argument(None, "registry/repository@sha256:…", variables=())
    pae_encode: bool = plain_option(
        "Print DSSE's pre-authentication encoding of it.", "", default=False, flag="--pae"
    )
    dsse_type: str = plain_option("The payload type for --pae.", "TYPE", SIMPLE_SIGNING)
    artifact_url: str | None = alias()


def payload(options: PayloadOptions) -> None:
    """Print the bytes to sign for an image, to sign them elsewhere. Asks nobody.

    They are those of gcloud container binauthz create-signature-payload.
    """
    image = options.image or options.artifact_url
    if not image:
        raise BadInput("no image was given", "Give registry/repository@sha256:….")
    data = Payload.of(ImageRef.parse(image)).to_bytes()
    sys.stdout.buffer.write(pae(options.dsse_type, data) if options.pae_encode else data)
    require_printed()


app = app_of(payload)
