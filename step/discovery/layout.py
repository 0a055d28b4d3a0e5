"""An OCI image layout: a folder that holds images, as buildah, skopeo and docker buildx write it.

https://github.com/opencontainers/image-spec/blob/main/image-layout.md
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path
from typing import Any

from step.discovery.formats import (
    HASH,
    MALFORMED,
    READABLE,
    Format,
    Reading,
    UnknownFormat,
    text_of,
)
from step.discovery.record import Record, RecordedImage
from step.errors import BadInput, about
from step.model.image import Digest, ImageName
from step.model.quoting import quoted
from step.model.strict import load_json
from step.registry.manifests import ATTESTATION, INDEXES, MANIFESTS, REFERENCE_TYPE

MARKER = "oci-layout"
INDEX = "index.json"

# Registries take manifests of 4 MiB at most:
# https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pushing-manifests
_LIMIT = 4 * 1024 * 1024
# The full name, which containerd and buildkit write, before the name that may be a tag alone:
# https://github.com/containerd/containerd/blob/main/core/images/annotations.go and
# https://github.com/opencontainers/image-spec/blob/main/annotations.md
_NAMES = ("io.containerd.image.name", "org.opencontainers.image.ref.name")


def is_folder(path: Path) -> bool:
    """Whether it is one, as far as can be seen: a path may be too long, or its parent closed."""
    try:
        return path.is_dir()
    except OSError:
        return False


def read_layout(folder: Path, source: str) -> Record:
    """Read what the layout's `index.json` lists: every manifest and index, each once.

    What an annotation names in full has that name; a tag alone is none. A listed manifest that the
    layout holds is hashed. Entries with an `artifactType` and attestations are no images, and
    passed over. Raises UnknownFormat, a BadInput, when the folder is no layout; BadInput when it
    is one and cannot be used.
    """
    try:
        with about(source):
            return Reading(Format.LAYOUT, _images(folder)).record(source)
    except OSError as error:
        raise BadInput(f"{source} cannot be read: {error.strerror}", READABLE) from None


def _images(folder: Path) -> tuple[RecordedImage, ...]:
    _require_layout(folder)
    text = _bytes(folder / INDEX).decode("utf-8", errors="replace")
    match _object(text, INDEX).get("manifests"):
        case list() as entries if all(isinstance(entry, dict) for entry in entries):
            images = [entry for entry in entries if _is_image(entry)]
        case _:
            raise BadInput(f"{INDEX} lists no manifests", MALFORMED)
    if not images:
        raise BadInput(f"{INDEX} lists no image", "Was the image written to this folder?")
    shown = set(HASH.findall(text))
    names: dict[Digest, list[ImageName]] = {}
    for entry in images:
        digest = _digest(entry, shown)
        _require_intact(folder, digest)
        names.setdefault(digest, []).extend(_names(entry))
    return tuple(RecordedImage(digest, tuple(dict.fromkeys(of))) for digest, of in names.items())


def _require_layout(folder: Path) -> None:
    if not (folder / MARKER).is_file() or not (folder / INDEX).is_file():
        raise UnknownFormat(f"the folder is no OCI layout: {MARKER} and {INDEX} are not in it")
    marker = _object(_bytes(folder / MARKER).decode("utf-8", errors="replace"), MARKER)
    if text_of(marker, "imageLayoutVersion") != "1.0.0":
        raise BadInput(f"{MARKER} does not say imageLayoutVersion 1.0.0", MALFORMED)


def _is_image(entry: dict[str, Any]) -> bool:
    return "artifactType" not in entry and _annotations(entry).get(REFERENCE_TYPE) != ATTESTATION


def _digest(entry: dict[str, Any], shown: set[str]) -> Digest:
    digest = Digest.parse(text_of(entry, "digest"))
    if digest.hex not in shown:
        raise BadInput(f"the digest {digest} is written with escapes", MALFORMED)
    kind = text_of(entry, "mediaType")
    if kind not in INDEXES + MANIFESTS:
        raise BadInput(
            f"{digest} is listed as {quoted(kind)}, not as a manifest or an index", MALFORMED
        )
    return digest


def _names(entry: dict[str, Any]) -> list[ImageName]:
    for key in _NAMES:
        name = _annotations(entry).get(key)
        # A tag alone is no name; buildah and skopeo write it.
        if isinstance(name, str):
            with suppress(BadInput):
                return [ImageName.parse(name)]
    return []


def _annotations(entry: dict[str, Any]) -> dict[str, Any]:
    annotations = entry.get("annotations")
    return annotations if isinstance(annotations, dict) else {}


def _require_intact(folder: Path, digest: Digest) -> None:
    """A layout may leave blobs out; one that is there has to have the digest that it is kept by."""
    blob = folder / "blobs" / "sha256" / digest.hex
    if blob.is_file() and hashlib.sha256(_bytes(blob)).hexdigest() != digest.hex:
        raise BadInput(
            f"the manifest kept as {digest} has another digest",
            "The layout was changed after it was written, or is damaged; build it anew.",
        )


def _object(text: str, name: str) -> dict[str, Any]:
    try:
        document = load_json(text)
    except ValueError:
        raise BadInput(f"{name} is not whole JSON", MALFORMED) from None
    if not isinstance(document, dict):
        raise BadInput(f"{name} is not an object", MALFORMED)
    return document


def _bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(_LIMIT + 1)
    except OSError as error:
        raise BadInput(f"{path.name} cannot be read: {error.strerror}", READABLE) from None
    if len(data) > _LIMIT:
        raise BadInput(f"{path.name} is over 4 MiB", "Is this the right folder?")
    return data
