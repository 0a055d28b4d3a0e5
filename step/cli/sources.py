"""Which images to re-attest: from lists, clusters, builds, registries and notes."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from step.cli.images import REFERENCE
from step.cli.options import WHAT, argument, option
from step.cli.program import Program, read_text
from step.errors import BadInput, Refused, about
from step.model.names import AttestorName, NoteName, ProjectName, StorageName
from step.model.quoting import quoted

if TYPE_CHECKING:
    from step.cloud.connection import Connection

# A pod takes some 10 KB of kubectl's output, and a large cluster has ten thousands of them.
_PODS_LIMIT = 1 << 30


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """What the options say of the images to re-attest; all that are named count together."""

    images: list[str] | None = argument(WHAT, REFERENCE)
    from_file: list[str] | None = option(
        WHAT,
        "List of images, one a line: references, digests, JSON lines or receipts; a path, "
        "gs://BUCKET/OBJECT, or - for standard input. Repeatable.",
        "PATH",
    )
    from_attestor: list[str] | None = option(
        WHAT,
        "All that an attestor has attested, or that is attested on a note: "
        "projects/P/attestors/A, A alone beside --project, or projects/P/notes/N. Repeatable.",
        "NAME",
    )
    from_key: str | None = option(
        WHAT,
        "Of what is attested there, or by --attestor itself, only what this key has attested.",
        "ID",
    )
    from_pods: str | None = option(
        WHAT, "What runs: the output of kubectl get pods -A -o json; - for standard input.", "PATH"
    )
    from_builds: str | None = option(
        WHAT,
        "What builds of Cloud Build pushed that this filter chooses and that succeeded, in "
        '--project: create_time>"2026-01-01T00:00:00Z", for example.',
        "FILTER",
    )
    builds_location: str = option(WHAT, "Region of those builds.", "LOCATION", "global")
    from_repository: list[str] | None = option(
        WHAT, "All that has a tag in a repository of a registry. Repeatable.", "NAME"
    )

    def require(self) -> None:
        """Raise BadInput where no image is asked for at all."""
        named = (self.images, self.from_file, self.from_attestor, self.from_repository)
        if not any(named) and not (self.from_key or self.from_pods or self.from_builds):
            raise BadInput(
                "no images were given",
                "Name them, or give a list with --from-file; --from-attestor A re-attests all that "
                "A has attested.",
            )

    def listed(self, project: str | None) -> tuple[AttestorName | NoteName, ...]:
        """The attestors and notes whose attestations are the list."""
        return tuple(
            NoteName.parse(name) if "/notes/" in name else AttestorName.parse(name, project)
            for name in self.from_attestor or ()
        )

    def description(self) -> str:
        """What a journal is pinned to; the images themselves by a hash, however many."""
        images = "\n".join(self.images or ())
        given = {
            "images": hashlib.sha256(images.encode()).hexdigest() if images else None,
            "from_file": self.from_file,
            "from_attestor": self.from_attestor,
            "from_key": self.from_key,
            "from_pods": self.from_pods,
            "from_builds": self.from_builds,
            "from_repository": self.from_repository,
        }
        return "; ".join(f"{name}={value}" for name, value in given.items() if value)

    def read(
        self, program: Program, connection: Connection, project: str | None
    ) -> Iterator[tuple[str, str]]:
        """The images as digest and name, as they are read; a name may be empty.

        Raises BadInput, and what Cloud Storage, Cloud Build and registries raise.
        """
        from step.discovery.lists import read_list

        yield from read_list(self.images or (), "IMAGE")
        for path in self.from_file or ():
            yield from read_list(_lines(path, connection), quoted(path))
        if self.from_pods:
            yield from _pods(self.from_pods, program)
        if self.from_builds:
            yield from _builds(self.from_builds, self.builds_location, project, program, connection)
        for name in self.from_repository or ():
            yield from _repository(name, program, connection)


def _lines(path: str, connection: Connection) -> Iterator[str]:
    """The lines of a list, which may be long: read as they are used, but for an object."""
    if path.startswith("gs://"):
        from step.cloud.storage import Storage

        data = Storage(connection).read(StorageName.parse(path, "--from-file"))
        yield from _decoded(data.splitlines(keepends=True), path)
        return
    try:
        if path == "-":
            yield from _decoded(sys.stdin.buffer, path)
            return
        with Path(path).open("rb") as file:
            yield from _decoded(file, path)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a path"
        raise BadInput(
            f"--from-file: {path!r} cannot be read: {reason}",
            "In a container, the file must be in a folder that is mounted into it.",
        ) from None


def _decoded(lines: Iterable[bytes], path: str) -> Iterator[str]:
    for number, line in enumerate(lines, 1):
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError:
            raise BadInput(
                f"--from-file: {path!r} is not UTF-8 text", "A list of images is text."
            ) from None


def _pods(path: str, program: Program) -> Iterator[tuple[str, str]]:
    from step.discovery.lists import read_pods, shown

    images, others = read_pods(read_text(path, "--from-pods", _PODS_LIMIT), "--from-pods")
    if others:
        program.warn(
            f"--from-pods: {len(others)} containers have no digest and are left out: "
            f"{shown(others)}"
        )
    yield from images


def _builds(
    chosen: str, location: str, project: str | None, program: Program, connection: Connection
) -> Iterator[tuple[str, str]]:
    from step.cloud.builds import Builds
    from step.discovery.builds import record_of

    if project is None:
        raise BadInput("--from-builds is given without --project", "Give the builds' project.")
    left_out = 0
    for build in Builds(connection).chosen(ProjectName(project), location, chosen):
        try:
            record = record_of(build, str(build.name))
        except (Refused, BadInput):  # it failed, or pushed nothing that could be deployed
            left_out += 1
            continue
        for image in record.images:
            yield str(image.digest), str(image.names[0]) if image.names else ""
    if left_out:
        program.terminal.remark(
            f"--from-builds: {left_out} builds failed or pushed no image, and are left out"
        )


def _repository(name: str, program: Program, connection: Connection) -> Iterator[tuple[str, str]]:
    from step.model.image import ImageName
    from step.registry.client import Registry
    from step.registry.credentials import Keychain

    deadline = connection.deadline
    keychain = Keychain.load(program.environ, google=connection.access_token, deadline=deadline)
    with about("--from-repository"):
        for image in Registry(keychain, connection.clock, deadline).tagged(ImageName.parse(name)):
            yield str(image.digest), str(image.name)
