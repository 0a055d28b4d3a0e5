"""What build tools write about the images they pushed, read strictly.

Nothing is repaired: a record that shows a known trap is an error with its own message, since what
comes out of here is signed.
"""

from __future__ import annotations

import re
import tomllib

from step.discovery.builds import is_build, record_of
from step.discovery.buildx import read_buildx
from step.discovery.documents import (
    read_goreleaser,
    read_image_line,
    read_inspect,
    read_jib,
    read_pack,
    read_skaffold,
    read_skopeo,
)
from step.discovery.formats import HASH, NOT_PUSHED, Format, Reading, UnknownFormat, listed
from step.discovery.image_lines import read_lines
from step.discovery.record import Record, RecordedImage
from step.errors import BadInput, about
from step.model.build import Build
from step.model.strict import load_json

# A table's header on a line of its own is TOML, but within an object of JSON.
_TOML = re.compile(r"(?!\s*\{)(?:.*\n)*?\[\[?[A-Za-z_][A-Za-z0-9_.-]*\]\]?[ \t]*\r?(?:\n|\Z)")
# An array too is JSON; a registry may be an IPv6 address in brackets.
_JSON = re.compile(r"\s*(?:\{|\[(?![0-9a-fA-F:]+\]))")
# A report is a few lines. tomllib keeps every prefix of a dotted key, so that one key of a few
# hundred KB would take all memory.
_TOML_LIMIT = 256 * 1024
_TOML_DOTS = 500

_READERS = (
    read_buildx,
    read_jib,
    read_skaffold,
    read_inspect,
    read_skopeo,
    read_image_line,
    read_goreleaser,
)


def parse_record(text: str, source: str) -> Record:
    """Read a build tool's record, its format told by its content.

    `source` is what messages and the origin call it, the origin beside the format. The formats are
    those of `Format`, but for the OCI layout, which is a folder. Raises UnknownFormat, a BadInput,
    when the text is no record; BadInput for records that cannot be used, such as those of images
    that were not pushed; Refused for a build of Cloud Build that did not succeed.
    """
    with about(source):
        read = _read(text, source)
    if isinstance(read, Build):
        record = record_of(read, Format.CLOUD_BUILD.called(source))
    else:
        record = read.record(source)
    shown = set(HASH.findall(text))
    hidden = [image.digest for image in record.images if image.digest.hex not in shown]
    if hidden:
        raise BadInput(
            f"{source}: the digest {listed(hidden)} is written with escapes",
            "No build tool writes it so, and a reader could not see what is signed.",
        )
    return record


def _read(text: str, source: str) -> Reading | Build:
    if not text.strip():
        raise BadInput("the record is empty: nothing was pushed", NOT_PUSHED)
    if _TOML.match(text):
        return _toml(text)
    if _JSON.match(text):
        return _json(text)
    return read_lines(text, source)


def _json(text: str) -> Reading | Build:
    try:
        document = load_json(text)
    except ValueError:
        return _json_lines(text)
    if is_build(document):
        return Build.from_json(document)
    for read in _READERS:
        if (reading := read(document)) is not None:
            return reading
    raise UnknownFormat("the record is JSON of an unknown shape")


def _json_lines(text: str) -> Reading:
    images: list[RecordedImage] = []
    for line in text.splitlines():
        try:
            reading = read_image_line(load_json(line))
        except ValueError:
            reading = None
        if reading is None:
            raise UnknownFormat("the record is not whole JSON")
        images += reading.images
    return Reading(Format.IMAGE_LINES, tuple(dict.fromkeys(images)))


def _toml(text: str) -> Reading:
    if len(text) > _TOML_LIMIT or any(line.count(".") > _TOML_DOTS for line in text.split("\n")):
        raise UnknownFormat("the record is TOML, and no report of pack is so large")
    try:
        reading = read_pack(tomllib.loads(text))
    except (ValueError, RecursionError):
        raise UnknownFormat("the record is not whole TOML") from None
    if reading is None:
        raise UnknownFormat("the record is TOML of an unknown shape")
    return reading
