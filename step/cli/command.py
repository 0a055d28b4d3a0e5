"""`-- COMMAND…`: another program, which a verb becomes or runs beside itself."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from step.cli.help import Verb
from step.errors import BadInput

if TYPE_CHECKING:
    from subprocess import Popen

_COMMAND = "step.cli.command"
# What asks a program to end; the first two are also typed, as Ctrl-C and Ctrl-\\.
_TYPED = (signal.SIGINT, signal.SIGQUIT)
_ENDING = (*_TYPED, signal.SIGHUP, signal.SIGTERM)


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


def command_of(context: typer.Context) -> tuple[str, ...]:
    """The command that a verb was given, empty without one.

    Raises BadInput when nothing follows `--`.
    """
    command: tuple[str, ...] | None = context.meta.get(_COMMAND)
    if command is not None and not any(command):
        raise BadInput("no command follows --", "Without a command to run, leave -- away.")
    return command or ()


def become(command: Sequence[str], environ: Mapping[str, str]) -> NoReturn:
    """Replace this process by a command; raises BadInput if it cannot be."""
    # Python ignores these two, and what is ignored stays so in the new program
    # (https://docs.python.org/3/library/signal.html#general-rules).
    before = {
        number: signal.signal(number, signal.SIG_DFL) for number in (signal.SIGPIPE, signal.SIGXFSZ)
    }
    try:
        with _told_if_it_cannot_run(command[0]):
            os.execvpe(command[0], list(command), environ)  # noqa: S606 - the user's own, no shell
    finally:  # reached only by what did not become another
        for number, handler in before.items():
            signal.signal(number, handler)


def run(command: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run a command beside this process until it ends, and return its exit code.

    That is 128 + N where signal N ended it, as shells have it. What asks this process to end is
    passed on, and the command's end awaited; afterwards it does nothing, so that nothing cuts short
    what is left to do here. Raises BadInput if the command cannot be run.
    """
    import subprocess

    process: Popen[bytes] | None = None
    early: list[int] = []

    def pass_on(number: int, _: object) -> None:
        if process is None:
            early.append(number)
        elif number not in _TYPED or not _in_foreground():
            with suppress(PermissionError):  # of sudo's, for example
                process.send_signal(number)

    for number in _ENDING:
        # What is ignored here, by nohup for example, stays so in the command.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, pass_on)
    with _told_if_it_cannot_run(command[0]):
        # What a shell opened for the command, `<(…)` for example, stays open. What this program
        # opened is closed: https://docs.python.org/3/library/os.html#fd-inheritance.
        process = subprocess.Popen(command, env=environ, close_fds=False)
    for asked in early:
        process.send_signal(asked)
    code = process.wait()
    return code if code >= 0 else 128 - code


def _in_foreground() -> bool:
    """Whether what is typed at the terminal reaches this process, and so the command as well."""
    try:
        terminal = os.open(os.ctermid(), os.O_RDONLY | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    finally:
        os.close(terminal)


@contextmanager
def _told_if_it_cannot_run(name: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not a file's name"
        raise BadInput(
            f"the command {name!r} cannot be run: {reason}",
            "It is looked up on PATH; in this program's own image there is no other program.",
        ) from None
