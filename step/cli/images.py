"""Which images: from options, records, builds and registries to references by digest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from step.cli.options import WHAT, alias, argument, option
from step.cli.program import Program, read_text
from step.errors import BadInput

if TYPE_CHECKING:
    from step.cloud.connection import Connection
    from step.discovery.record import Discovered, Record
    from step.model.build import Build, BuildName
    from step.model.image import ImageName
    from step.registry.client import Registry


REFERENCE = "registry/repository@sha256:…; a tag beside the digest is dropped."


@dataclass(frozen=True, slots=True)
class ImageOptions:
    """What the options say of the images."""

    images: list[str] | None = argument(WHAT, REFERENCE)
    image: str | None = option(WHAT, "Name of the image whose digest is given apart.", "NAME")
    digest: str | None = option(WHAT, "Digest of --image.", "sha256:…")
    metadata: str | None = option(
        WHAT, "A build tool's record as text, JSON for example.", "RECORD"
    )
    from_file: list[str] | None = option(
        WHAT,
        "File or OCI layout folder with a build tool's record, or a digest beside --image; - for "
        "standard input. Repeatable.",
        "PATH",
    )
    build: str | None = option(
        WHAT,
        "Finished Cloud Build build: projects/P/locations/L/builds/ID, its address in the "
        "console, or its id beside --project.",
        "ID",
    )
    workspace: str | None = option(
        WHAT, "Folder to find records in when nothing else is given; default the CI's own.", "PATH"
    )
    resolve_tags: bool = option(
        WHAT,
        "Ask the registry, once, which digest an image given by tag has; the receipt says so.",
        default=False,
    )
    check_registry: bool = option(
        WHAT,
        "Ask the registry whether each digest is there, as a manifest or an index.",
        default=False,
    )
    platforms: str = option(
        WHAT,
        "Of an index, attest the index alone, all of its platforms too, or those listed: index, "
        "all, or linux/amd64,linux/arm64.",
        "PLATFORMS",
        "index",
    )
    artifact_url: str | None = alias()

    def discover(
        self,
        program: Program,
        connection: Connection,
        project: str | None,
        *,
        only_one: bool = False,
    ) -> tuple[Discovered, ...]:
        """The images, and where each digest came from.

        `project` is that of a build that is named by its id alone; `only_one` says that exactly one
        image must be meant, as where a signature was made elsewhere.

        Asks Cloud Build only for `--build`, or for the name of what a running build pushed; a
        registry only for tags, existence or platforms. Raises BadInput, Refused, NotAllowed,
        NotFound or Unavailable.
        """
        from step.discovery.find import find_images
        from step.registry.manifests import Platforms

        sources = _Sources(self, program, connection, project)
        platforms = Platforms.parse(self.platforms)
        records = tuple(sources.records())
        discovered = find_images(
            self.references,
            name=self.image,
            digest=self.digest,
            records=records,
            resolve=sources.registry.resolve if self.resolve_tags else None,
            default_names=sources.running_names(records),
            not_before=sources.began,
            expected=1 if only_one else None,
        )
        if platforms != Platforms():
            expanded = (child for each in discovered for child in sources.children(each))
            discovered = tuple(dict.fromkeys(expanded))
        if self.check_registry:
            for each in discovered:
                sources.registry.manifest(each.image)
        return discovered

    @property
    def references(self) -> tuple[str, ...]:
        """The images that are named by reference."""
        return (*(self.images or ()), *([self.artifact_url] if self.artifact_url else ()))

    def build_name(self, program: Program, project: str | None) -> BuildName | None:
        """The build of Cloud Build that is asked for; raises BadInput for what names none."""
        if self.build is None:
            return None
        from step.model.build import BuildName

        return BuildName.parse(self.build, project, program.environ.get("LOCATION"))


@dataclass
class _Sources:
    """What is asked for the images, each at most once, and only if it is needed."""

    choice: ImageOptions
    program: Program
    connection: Connection
    project: str | None
    began: datetime | None = None
    """When the build that was asked for began: no record of it is older."""
    builds: dict[BuildName, Build] = field(default_factory=dict)

    def records(self) -> Iterator[Record]:
        """The records that were given, or else those that the workspace holds."""
        choice = self.choice
        if choice.metadata is not None:
            from step.discovery.records import parse_record

            yield parse_record(choice.metadata, "--metadata")
        for path in choice.from_file or ():
            yield _record_at(path)
        if (build := choice.build_name(self.program, self.project)) is not None:
            yield self._build(build)
        named = (choice.digest, choice.metadata, choice.build)
        given = choice.references or choice.from_file or any(text is not None for text in named)
        if not given and (workspace := self._workspace()):
            from step.discovery.checkout import Checkout
            from step.discovery.workspace import search

            yield from search(workspace, Checkout(self._run_began(workspace)))

    def running_names(self, records: Sequence[Record]) -> tuple[ImageName, ...]:
        """What the Cloud Build build around this step pushes to, asked if a record lacks a name."""
        nameless = any(not image.names for record in records for image in record.images)
        running = self.program.environment.running_build
        if self.choice.image or not nameless or running is None:
            return ()
        from step.discovery.builds import running_names

        return running_names(self._read(running))

    def children(self, discovered: Discovered) -> Iterator[Discovered]:
        """An image and the manifests of the platforms that are asked for."""
        from step.registry.manifests import Platforms

        platforms = Platforms.parse(self.choice.platforms)
        index, origin = discovered.image, discovered.origin
        below = replace(origin, source=f"platform of {index.digest}, {origin.source}")
        for image in self.registry.expand(index, platforms):
            yield discovered if image == index else replace(discovered, image=image, origin=below)

    @cached_property
    def registry(self) -> Registry:
        """Registries, with the credentials that docker would use."""
        from step.registry.client import Registry
        from step.registry.credentials import Keychain

        connection = self.connection
        deadline = connection.deadline
        keychain = Keychain.load(
            self.program.environ, google=connection.access_token, deadline=deadline
        )
        return Registry(keychain, connection.clock, deadline)

    def _build(self, name: BuildName) -> Record:
        from step.discovery.builds import record_of

        return record_of(self._read(name), f"Cloud Build {name.id}")

    def _read(self, name: BuildName) -> Build:
        from step.cloud.builds import Builds

        if name not in self.builds:
            self.builds[name] = Builds(self.connection).get(name)
        self.began = self.builds[name].started
        return self.builds[name]

    def _run_began(self, workspace: Path) -> datetime | None:
        """When the run did; Cloud Build is asked where nothing else tells the sources apart.

        Raises BadInput where that cannot be told either.
        """
        from step.discovery.checkout import has_repository
        from step.discovery.environment import Ci

        environment = self.program.environment
        if environment.ci is not Ci.CLOUD_BUILD or has_repository(workspace):
            return environment.began
        if environment.running_build is None:
            raise BadInput(
                "what the build made cannot be told from what came with the sources",
                "Name the build's record with --from-file; or give this step the build's BUILD_ID "
                "and PROJECT_ID, so that Cloud Build can be asked when it began.",
            )
        return self._read(environment.running_build).started

    def _workspace(self) -> Path | None:
        """Where to look for records; outside of CI only where `--workspace` says."""
        named = self.choice.workspace
        return Path(named) if named else self.program.environment.workspace


def _record_at(path: str) -> Record:
    from step.discovery.layout import is_folder, read_layout
    from step.discovery.records import parse_record

    if path not in ("", "-") and is_folder(Path(path)):
        return read_layout(Path(path), path)
    text = read_text(path, "--from-file")
    return parse_record(text, "standard input" if path == "-" else path)
