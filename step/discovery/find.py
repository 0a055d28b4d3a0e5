"""References, name and digest, and build records become the images to work on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from functools import cache
from typing import TypeVar

from step.discovery.formats import listed
from step.discovery.record import Discovered, Origin, Record, RecordedImage
from step.errors import BadInput, about
from step.model.image import Digest, ImageName, ImageRef, ImageTag

_T = TypeVar("_T")


def find_images(
    references: Sequence[str],
    *,
    name: str | None = None,
    digest: str | None = None,
    records: Sequence[Record] = (),
    resolve: Callable[[ImageTag], Digest] | None = None,
    default_names: Sequence[ImageName] = (),
    expected: int | None = None,
    not_before: datetime | None = None,
) -> tuple[Discovered, ...]:
    """Return every image that was named, in the order given, each once.

    `name` is for `digest` and for records: it says which of a record's names is meant, and names
    what has none. `resolve` asks a registry what a tag stands for; without it, a tag alone is
    refused. `default_names` are what the running build says it pushes to; where that is one name,
    it names what has none. `expected` is how many images there must be. `not_before` is when the
    build began: a record that says it was made earlier is another build's.

    Raises BadInput when nothing was named, when a record gives several names and `name` picks none,
    when two sources disagree, and when the images are not as many as expected; and whatever
    `resolve` raises.
    """
    wanted = None if name is None else _labelled("--image", ImageName.parse, name)
    every = [*_given_digest(digest), *records]
    if wanted is not None and not every:
        raise BadInput(
            f"{wanted} was named without a digest",
            "Give --digest, --metadata or --from-file beside --image; if the build's digest is "
            "empty, nothing was pushed.",
        )
    for record in every:
        _require_fresh(record, not_before)
    defaults = tuple(dict.fromkeys(default_names))
    named = [(record, _named(record, wanted, defaults)) for record in every]
    # A tag is asked for once, even if it is given twice: it may be moved in between.
    once = cache(resolve) if resolve else None
    referred = [_referred(reference, once) for reference in references]
    _agree(named, [each for each in referred if each.origin.tag is not None])
    images: dict[ImageRef, Discovered] = {}
    for discovered in referred:
        images.setdefault(discovered.image, discovered)
    for record, of_record in named:
        for image in of_record:
            images.setdefault(image, Discovered(image, record.origin))
    _require_count(images, expected)
    return tuple(images.values())


def _given_digest(digest: str | None) -> Iterable[Record]:
    if digest is not None:
        image = RecordedImage(_labelled("--digest", Digest.parse, digest))
        yield Record(Origin("--digest"), (image,))


def _referred(reference: str, resolve: Callable[[ImageTag], Digest] | None) -> Discovered:
    if resolve is None or "@" in reference:
        return Discovered(ImageRef.parse(reference), Origin("the reference given"))
    tag = ImageTag.parse(reference)
    return Discovered(tag.name.at(resolve(tag)), Origin("the registry", tag=tag.tag))


def _require_fresh(record: Record, not_before: datetime | None) -> None:
    if not_before is not None and record.made is not None and record.made < not_before:
        raise BadInput(
            f"{record.source}: the image was made at {record.made.isoformat()}, before the "
            f"build began at {not_before.isoformat()}",
            "The record is an older build's, perhaps kept in a cache; give that of this build.",
        )


def _named(
    record: Record, wanted: ImageName | None, defaults: tuple[ImageName, ...]
) -> list[ImageRef]:
    every = record.images
    unnamed = next((image for image in every if not image.names), None)
    if unnamed is not None:
        name = wanted or _default(record, unnamed, defaults)
        if len({image.digest for image in every if name in image.names or not image.names}) > 1:
            raise BadInput(
                f"{record.source}: several digests, not all with a name, could be {name}",
                "Give the images as registry/repository@sha256:….",
            )
        every = tuple(image if image.names else replace(image, names=(name,)) for image in every)
    if wanted is None:
        if record.one_of:
            _one_name(record, [name for image in every for name in image.names])
        return [_one_name(record, image.names).at(image.digest) for image in every]
    images = [wanted.at(image.digest) for image in every if wanted in image.names]
    if not images:
        raise _contradicted(record, wanted)
    return images


def _one_name(record: Record, names: Sequence[ImageName]) -> ImageName:
    first, *others = dict.fromkeys(names)
    if others:
        raise BadInput(
            f"{record.source}: the image was pushed under several names: {listed(names)}",
            "Say which with --image.",
        )
    return first


def _default(record: Record, image: RecordedImage, defaults: tuple[ImageName, ...]) -> ImageName:
    match defaults:
        case (name,):
            return name
        case ():
            raise BadInput(
                f"{record.source}: {image.digest} has no name",
                "Say which image it is with --image registry/repository.",
            )
    raise BadInput(
        f"{record.source}: {image.digest} has no name, and the build pushes several images: "
        f"{listed(defaults)}",
        "Say which it is with --image.",
    )


def _contradicted(record: Record, wanted: ImageName) -> BadInput:
    """A digest belongs to the repository that was pushed to; elsewhere the bytes may be others."""
    names = [name for image in record.images for name in image.names]
    if any(name.repository == wanted.repository for name in names):
        what = f"the registry of {wanted} is not the one that was pushed to"
    elif any(name.registry == wanted.registry for name in names):
        what = f"the repository of {wanted} is not the one that was pushed to"
    else:
        what = f"{wanted} is neither the registry nor the repository that was pushed to"
    return BadInput(
        f"{record.source}: {what}; {wanted} is not among the names recorded: {listed(names)}",
        "The digest belongs to the image that was pushed; give that one with --image.",
    )


def _agree(named: Sequence[tuple[Record, list[ImageRef]]], resolved: Sequence[Discovered]) -> None:
    """Two sources that give one name different digests contradict each other, or one is stale."""
    first: dict[ImageName, tuple[str, set[Digest]]] = {}
    for record, images in named:
        of_record: dict[ImageName, set[Digest]] = {}
        for image in images:
            of_record.setdefault(image.name, set()).add(image.digest)
        for name, digests in of_record.items():
            source, known = first.setdefault(name, (record.source, digests))
            if known != digests:
                raise BadInput(
                    f"{source} and {record.source} disagree about the digest of {name}",
                    "Give one record of the build; if both images are meant, give them as "
                    "registry/repository@sha256:….",
                )
    for discovered in resolved:
        image = discovered.image
        if image.name in first:
            source, known = first[image.name]
            if image.digest not in known:
                raise BadInput(
                    f"{source} and the registry disagree: the tag {discovered.origin.tag} of "
                    f"{image.name} is {image.digest}",
                    "The tag was moved after the build, or the record is another build's. Give the "
                    "record without the tag, if it is this build's.",
                )


def _require_count(images: Iterable[ImageRef], expected: int | None) -> None:
    count = len(every := list(images))
    if not every:
        raise BadInput(
            "no image was given",
            "Give registry/repository@sha256:…, or --image with --digest, or the build's own "
            "record with --metadata or --from-file.",
        )
    if expected is not None and count != expected:
        raise BadInput(
            f"{count} images were found where {expected} was asked for: {listed(every)}",
            "Pick one with --image, or give it as registry/repository@sha256:….",
        )


def _labelled(label: str, parse: Callable[[str], _T], text: str) -> _T:
    with about(label):
        return parse(text)
