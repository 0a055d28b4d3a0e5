"""`binauthz-attest gate`."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import typer

from step.cli import options as opt
from step.cli.attestors import AttestorChoice
from step.cli.edge import Edge
from step.cli.help import Verb
from step.cli.images import ImageChoice
from step.cli.outcome import show
from step.cli.verify import Question, RequirementChoice
from step.errors import BadInput
from step.model.image import ImageRef

_COMMAND = "step.cli.gate.command"
# What this program may be given as secrets, and no other program may be given by it.
_SECRET = "BINAUTHZ_PGP_"  # noqa: S105 - how the names of variables begin


class WithCommand(Verb):
    """A verb that leaves all that follows `--` to another program."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Take `-- COMMAND …` off before the options are read."""
        if "--" in args:
            at = args.index("--")
            ctx.meta[_COMMAND] = tuple(args[at + 1 :])
            args = args[:at]
        return super().parse_args(ctx, args)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """The usage line, with the command."""
        return [*super().collect_usage_pieces(ctx), "[-- COMMAND...]"]


def gate(
    context: typer.Context,
    images: ImageChoice,
    attestors: AttestorChoice,
    requirement: RequirementChoice,
    timeout: opt.GateTimeout = "10m",
    format: opt.ResultFormat = opt.Format.TEXT,  # noqa: A002 - the option's own name
    output_file: opt.ResultFile = None,
) -> None:
    """Wait until images are attested, then become COMMAND, if given.

    COMMAND finds the first image, by digest, in BINAUTHZ_GATED_IMAGE, and all of them, one a line,
    in BINAUTHZ_GATED_IMAGES. It is never run when time runs out or when it could not be asked.
    """
    edge: Edge = context.obj
    command: Sequence[str] | None = context.meta.get(_COMMAND)
    if command is not None and not any(command):
        raise BadInput("no command follows --", "Without a command to run, leave -- away.")
    found = Question(images, attestors, requirement).settle(edge, output_file, timeout)
    passed = found.verified
    # What passed leaves standard output to the command.
    stream = sys.stderr if command and passed else None
    code = show(found, edge, format, stream)
    if not command or not passed or code:
        raise typer.Exit(code)
    become(command, [one.image for one in found.verdicts], edge.environ)


def become(
    command: Sequence[str], images: Sequence[ImageRef], environ: Mapping[str, str]
) -> NoReturn:
    """Replace this process by a command that is told the images; raises BadInput if it cannot be.

    The variables that may hold this program's own secrets are not passed on.
    """
    by_digest = list(dict.fromkeys(map(str, images)))
    passed_on = {name: value for name, value in environ.items() if not name.startswith(_SECRET)}
    passed_on["BINAUTHZ_GATED_IMAGE"] = by_digest[0]
    passed_on["BINAUTHZ_GATED_IMAGES"] = "\n".join(by_digest)
    # Python ignores these two, and what is ignored stays so in the new program
    # (https://docs.python.org/3/library/signal.html#general-rules).
    before = {one: signal.signal(one, signal.SIG_DFL) for one in (signal.SIGPIPE, signal.SIGXFSZ)}
    try:
        os.execvpe(command[0], list(command), passed_on)  # noqa: S606 - the user's own, no shell
    except (OSError, ValueError) as error:
        for one, handler in before.items():
            signal.signal(one, handler)
        reason = error.strerror if isinstance(error, OSError) else "it is not a file's name"
        raise BadInput(
            f"the command {command[0]!r} cannot be run: {reason}",
            "It is looked up on PATH; in this program's own image there is no other program.",
        ) from None
