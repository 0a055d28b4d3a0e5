"""`binauthz-attest gate`."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

import typer

from step.cli import options as opt
from step.cli.attestors import AttestorChoice
from step.cli.command import WithCommand, become, command_of
from step.cli.groups import app_of
from step.cli.images import ImageChoice
from step.cli.outcome import show
from step.cli.program import Edge
from step.cli.run import RunChoice
from step.cli.verify import Question, RequirementChoice
from step.model.image import ImageRef

# What this program may be given as secrets, and no other program may be given by it.
_SECRET = "BINAUTHZ_PGP_"  # noqa: S105 - how the names of variables begin


def gate(
    context: typer.Context,
    images: ImageChoice,
    attestors: AttestorChoice,
    requirement: RequirementChoice,
    run: RunChoice,
    timeout: opt.GateTimeout = "10m",
    format: opt.ResultFormat = opt.Format.TEXT,  # noqa: A002 - the option's own name
    output_file: opt.ResultFile = None,
) -> None:
    """Wait until images are attested, then become COMMAND, if given.

    COMMAND finds the first image, by digest, in BINAUTHZ_GATED_IMAGE, and all of them, one a line,
    in BINAUTHZ_GATED_IMAGES. It is never run when time runs out or when it could not be asked.
    """
    edge: Edge = context.obj
    command = command_of(context)
    question = Question(images, attestors, requirement, run, timeout, opens=bool(command))
    found = question.settle(edge, output_file)
    passed = found.verified
    # What passed leaves standard output to the command.
    stream = sys.stderr if command and passed else None
    code = show(found, edge, format, stream)
    if not command or not passed or code:
        raise typer.Exit(code)
    become(command, _told([one.image for one in found.verdicts], edge.environ))


app = app_of(gate, WithCommand)


def _told(images: Sequence[ImageRef], environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of a command that is told the images.

    The variables that may hold this program's own secrets are not passed on.
    """
    by_digest = list(dict.fromkeys(map(str, images)))
    passed_on = {name: value for name, value in environ.items() if not name.startswith(_SECRET)}
    passed_on["BINAUTHZ_GATED_IMAGE"] = by_digest[0]
    passed_on["BINAUTHZ_GATED_IMAGES"] = "\n".join(by_digest)
    return passed_on
