"""`binauthz-attest verify`, and what it shares with `gate`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

from step.cli import options as opt
from step.cli.attestors import attestor_names
from step.cli.edge import Edge
from step.cli.images import ImageChoice
from step.cli.outcome import bug, prepare, show, write_files
from step.clock import parse_duration
from step.errors import Interrupted, StepError

if TYPE_CHECKING:
    from step.events import Failure
    from step.gate import Verdict
    from step.reporting.verdicts import Verification


def verify(
    context: typer.Context,
    images: opt.Images = None,
    image: opt.Image = None,
    digest: opt.Digest = None,
    metadata: opt.Metadata = None,
    from_file: opt.FromFile = None,
    build: opt.Build = None,
    workspace: opt.Workspace = None,
    resolve_tags: opt.ResolveTags = False,
    check_registry: opt.CheckRegistry = False,
    platforms: opt.Platforms = "index",
    attestor: opt.Attestors = None,
    project: opt.Project = None,
    at_least: opt.AtLeast = 1,
    every_key: opt.EveryKey = False,
    format: opt.ResultFormat = opt.Format.TEXT,  # noqa: A002 - the option's own name
    output_file: opt.ResultFile = None,
) -> None:
    """Verify that images are attested: by every attestor named, with the keys that it lists.

    Exit code 0 is a yes and 3 a no; any other says that it could not be asked.
    """
    question = Question(
        choice=ImageChoice(
            references=images or (),
            image=image,
            digest=digest,
            metadata=metadata,
            from_file=from_file or (),
            build=build,
            project=project,
            workspace=workspace,
            resolve_tags=resolve_tags,
            check_registry=check_registry,
            platforms=platforms,
        ),
        attestors=attestor or (),
        project=project,
        at_least=at_least,
        every_key=every_key,
        output_file=output_file,
    )
    edge: Edge = context.obj
    raise typer.Exit(show(question.settle(edge), edge, format))


@dataclass(frozen=True, slots=True)
class Question:
    """The options of `verify` and `gate`, as they were given."""

    choice: ImageChoice
    attestors: Sequence[str]
    project: str | None
    at_least: int
    every_key: bool
    output_file: str | None

    def settle(self, edge: Edge, timeout: str | None = None) -> Verification:
        """Ask, once or until `timeout` has passed, show the progress, and write the file.

        Whatever goes wrong is a failure in what is returned, so that it is not verified.
        """
        from step.events import Failure
        from step.reporting.verdicts import Verification

        verdicts: list[Verdict] = []
        failures: list[Failure] = []
        try:
            self._ask(edge, timeout, verdicts, failures)
        except StepError as error:
            failures.append(Failure(None, None, error))
        except KeyboardInterrupt:
            ended = Interrupted("interrupted", "Run again; nothing was changed.")
            failures.append(Failure(None, None, ended))
        except Exception as error:  # noqa: BLE001 - no bug may look like a yes
            failures.append(Failure(None, None, bug(error)))
        found = Verification(tuple(verdicts), tuple(failures))
        return write_files(found, edge, self.output_file)

    def _ask(
        self, edge: Edge, timeout: str | None, verdicts: list[Verdict], failures: list[Failure]
    ) -> None:
        from step.events import Failure, Progress
        from step.gate import Verdict, gate, verify
        from step.model.attestation import Requirement
        from step.reporting.console import Terminal

        terminal = Terminal(sys.stdout, sys.stderr, edge.environ)
        prepare(terminal, edge, self.output_file)
        limit = None if timeout is None else parse_duration(timeout)
        requirement = Requirement(self.at_least, self.every_key)
        attestors = attestor_names(self.attestors, self.project)
        connection = edge.connection()
        images = [one.image for one in self.choice.discover(edge, connection)]
        several = len(images) * len(attestors) > 1
        events = (
            verify(images, attestors, connection, requirement)
            if limit is None
            else gate(images, attestors, connection, requirement, limit)
        )
        for event in events:
            match event:
                case Progress():
                    terminal.progress(event, which=several)
                case Verdict():
                    verdicts.append(event)
                case Failure():
                    failures.append(event)

        def place(one: Verdict | Failure) -> tuple[int, int]:
            return (
                images.index(one.image) if one.image else -1,
                attestors.index(one.attestor) if one.attestor else -1,
            )

        verdicts.sort(key=place)
        failures.sort(key=place)
