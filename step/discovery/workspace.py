"""The records that a build left in its workspace, found by the names that they usually have."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from step.discovery.checkout import Checkout
from step.discovery.formats import READABLE, UnknownFormat, listed
from step.discovery.layout import INDEX, MARKER, is_folder, read_layout
from step.discovery.record import Record
from step.discovery.records import parse_record
from step.errors import BadInput

# Where build tools put their records by themselves, and the names that people usually give to those
# that they ask for; nothing else in a workspace is opened.
RECORDS: dict[str, tuple[str, ...]] = {
    ".": (
        # docker buildx --metadata-file: docs.docker.com/reference/cli/docker/buildx/build/
        "metadata.json",
        "build-metadata.json",
        "bake-metadata.json",
        # skaffold build --file-output: skaffold.dev/docs/references/cli/
        "build.json",
        "artifacts.json",
        "tags.json",
        # kaniko --digest-file, buildah and podman --digestfile, crane digest
        "digest",
        "digest.txt",
        "digest-file",
        "digestfile",
        "image-digest",
        "image-digest.txt",
        "image.digest",
        # ko and apko --image-refs, kaniko --image-name-with-digest-file
        "image-refs",
        "image-refs.txt",
        "image.refs",
        # docker image inspect
        "inspect.json",
        "image-inspect.json",
        # pack build --report-output-dir
        "report.toml",
    ),
    # jib of Maven and of Gradle:
    # github.com/GoogleContainerTools/jib/blob/master/jib-maven-plugin/README.md
    "target": ("jib-image.json", "jib-image.digest"),
    "build": ("jib-image.json", "jib-image.digest"),
    # goreleaser.com/customization/dist/
    "dist": ("artifacts.json", "digests.txt"),
}
LAYOUTS = (".", "oci", "image")

_LIMIT = 10 * 1024 * 1024


def search(workspace: Path, checkout: Checkout | None = None) -> tuple[Record, ...]:
    """Read the records that have the names above: one, or none.

    A file that is no record, is over 10 MiB or is not text is passed over, and so is a link that
    leads out of the workspace, and what may have come with the sources: that is no build's record.
    Records that say the same count as one. Raises BadInput when several are left, naming each, when
    none is and one was passed over for where it came from, when a file cannot be read, and when a
    record shows a trap.
    """
    if not is_folder(workspace):
        raise BadInput(
            f"the workspace {str(workspace)!r} is not a folder",
            "Say where the build's files are with --workspace, or name the file with --from-file.",
        )
    workspace = workspace.resolve()
    own = _Own(workspace, checkout or Checkout())
    records = _distinct([*_files(workspace, own), *_layouts(workspace, own)])
    if own.passed_over and not records:
        raise BadInput(
            f"in the workspace, {own.passed_over[0]}",
            "If it is this build's record, name it with --from-file; else give the image.",
        )
    if len(records) > 1:
        told = listed(
            f"{each.source}: {listed(of.digest for of in each.images)}" for each in records
        )
        raise BadInput(
            f"the workspace holds several records: {told}",
            "Name the one of this build with --from-file, or remove those of other builds.",
        )
    return tuple(records)


@dataclass(slots=True)
class _Own:
    """Tells what the build made from what came with the sources, and keeps why it did."""

    workspace: Path
    checkout: Checkout
    passed_over: list[str] = field(default_factory=list)

    def made(self, path: Path) -> bool:
        """Whether the build made a file, as far as can be told."""
        try:
            origin = self.checkout.origin_of(path)
        except OSError as error:
            raise _unreadable(path, self.workspace, error) from None
        if origin is not None:
            self.passed_over.append(f"{_called(path, self.workspace)} {origin}")
        return origin is None


def _files(workspace: Path, own: _Own) -> Iterator[Record]:
    for folder, names in RECORDS.items():
        for name in names:
            path = workspace / folder / name
            text = _text(path, workspace)
            if text is not None:
                try:
                    record = parse_record(text, _called(path, workspace))
                except UnknownFormat:
                    continue
                except BadInput:  # a trap; it counts as little as a record would
                    if own.made(path):
                        raise
                    continue
                if own.made(path):
                    yield record


def _layouts(workspace: Path, own: _Own) -> Iterator[Record]:
    for name in LAYOUTS:
        folder = workspace / name
        parts = [folder / part for part in (MARKER, INDEX)]
        if all(_is_inside(part, workspace) for part in parts) and all(map(own.made, parts)):
            yield read_layout(folder, _called(folder, workspace))


def _called(path: Path, workspace: Path) -> str:
    return path.relative_to(workspace).as_posix()


def _is_inside(path: Path, workspace: Path) -> bool:
    """Whether it is a plain file that, all links followed, is in the workspace."""
    try:
        return path.is_file() and path.resolve().is_relative_to(workspace.resolve())
    except OSError as error:
        raise _unreadable(path, workspace, error) from None


def _unreadable(path: Path, workspace: Path, error: OSError) -> BadInput:
    return BadInput(f"{_called(path, workspace)} cannot be read: {error.strerror}", READABLE)


def _text(path: Path, workspace: Path) -> str | None:
    if not _is_inside(path, workspace):
        return None
    try:
        with path.open("rb") as file:
            data = file.read(_LIMIT + 1)
    except OSError as error:
        raise _unreadable(path, workspace, error) from None
    if len(data) > _LIMIT:
        return None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None


def _distinct(records: list[Record]) -> list[Record]:
    """Leave out what another says too: jib and goreleaser write two files about one build."""
    kept: list[Record] = []
    for record in records:
        if any(_says(other, record) for other in kept):
            continue
        kept = [*(other for other in kept if not _says(record, other)), record]
    return kept


def _says(record: Record, other: Record) -> bool:
    """Whether one record says the digests of the other, and its names if it has any."""
    digests, others = ({image.digest for image in each.images} for each in (record, other))
    return digests == others and _pairs(other) <= _pairs(record)


def _pairs(record: Record) -> set[tuple[str, str]]:
    return {(str(name), image.digest.hex) for image in record.images for name in image.names}
