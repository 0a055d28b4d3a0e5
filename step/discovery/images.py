"""References, name and digest, and build records become the images to work on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from step.discovery.records import Found, Record, parse_record
from step.errors import BadInput
from step.model.image import Digest, ImageName, ImageRef

_T = TypeVar("_T")


def find_images(
    references: Sequence[str],
    *,
    name: str | None = None,
    digest: str | None = None,
    metadata: Sequence[str] = (),
    files: Sequence[tuple[str, str]] = (),
) -> tuple[ImageRef, ...]:
    """Return every image that was named, in the order given, each once.

    `name` is for `digest` and for records: it says which of a record's names is meant, and names
    what has none. `metadata` holds records as text, `files` pairs of a label for messages and the
    text. Raises BadInput when nothing was named, when a record cannot be used, when a record gives
    several names and `name` picks none, and when two sources disagree.
    """
    wanted = None if name is None else _labelled("--image", ImageName.parse, name)
    records = [*_given_digest(digest)]
    for number, text in enumerate(metadata, start=1):
        label = "--metadata" if len(metadata) == 1 else f"--metadata, number {number}"
        records.append(parse_record(text, label))
    records += [parse_record(text, label) for label, text in files]
    if wanted is not None and not records:
        raise BadInput(
            f"{wanted} was named without a digest",
            "Give --digest, --metadata or --from-file beside --image; if the build's digest is "
            "empty, nothing was pushed.",
        )
    named = {record: _named(record, wanted) for record in records}
    _agree(named)
    images = [ImageRef.parse(reference) for reference in references]
    images += [image for of_record in named.values() for image in of_record]
    if not images:
        raise BadInput(
            "no image was given",
            "Give registry/repository@sha256:…, or --image with --digest, or the build's own "
            "record with --metadata or --from-file.",
        )
    return tuple(dict.fromkeys(images))


def _given_digest(digest: str | None) -> Iterable[Record]:
    if digest is not None:
        yield Record("--digest", (Found(_labelled("--digest", Digest.parse, digest)),))


def _named(record: Record, wanted: ImageName | None) -> list[ImageRef]:
    if wanted is None:
        return [_only_name(record, found).at(found.digest) for found in record.found]
    matching = [found for found in record.found if wanted in found.names or not found.names]
    if not matching:
        raise BadInput(
            f"{record.source}: {wanted} is not among the names recorded: {_listed(record)}",
            "The digest belongs to the image that was pushed; give that one with --image.",
        )
    digests = {found.digest for found in matching if not found.names}
    if digests and len({found.digest for found in matching}) > 1:
        raise BadInput(
            f"{record.source}: several digests, not all with a name, could be {wanted}",
            "Give the images as registry/repository@sha256:….",
        )
    return [wanted.at(found.digest) for found in matching]


def _only_name(record: Record, found: Found) -> ImageName:
    match found.names:
        case (name,):
            return name
        case ():
            raise BadInput(
                f"{record.source}: {found.digest} has no name",
                "Say which image it is with --image registry/repository.",
            )
    raise BadInput(
        f"{record.source}: the image was pushed under several names: "
        + ", ".join(map(str, found.names)),
        "Say which with --image.",
    )


def _agree(named: dict[Record, list[ImageRef]]) -> None:
    """Two sources that give one name different digests contradict each other, or one is stale."""
    first: dict[ImageName, tuple[str, set[Digest]]] = {}
    for record, images in named.items():
        for image in images:
            digests = {other.digest for other in images if other.name == image.name}
            source, known = first.setdefault(image.name, (record.source, digests))
            if known != digests:
                raise BadInput(
                    f"{source} and {record.source} disagree about the digest of {image.name}",
                    "Give one record of the build; if both images are meant, give them as "
                    "registry/repository@sha256:….",
                )


def _listed(record: Record) -> str:
    return ", ".join(dict.fromkeys(str(name) for found in record.found for name in found.names))


def _labelled(label: str, parse: Callable[[str], _T], text: str) -> _T:
    try:
        return parse(text)
    except BadInput as error:
        raise BadInput(f"{label}: {error.message}", error.hint) from None
