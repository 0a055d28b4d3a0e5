"""The command line: options in, one call, results out, exit code."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import takewhile
from typing import Annotated, Any

import typer
import typer.main

from step import __version__
from step.cli.inputs import refuse_ineffective
from step.cli.options import Format
from step.cli.program import Program
from step.cli.run import INTERRUPTED, FormatOptions, bug, refuse
from step.cli.verbs import Verbs
from step.clock import Clock, SystemClock
from step.errors import BadInput, StepError
from step.model.quoting import quoted
from step.results.goal import Goal

# What needs nothing but the environment, and leaves outputs behind.
COMMANDS = ("attest", "verify", "gate", "policy check")

app = typer.Typer(
    name="binauthz-attest",
    cls=Verbs,
    help="Binary Authorization attestations, from the image a build made to one that can be read "
    "back and verified. Without arguments: attest.",
    no_args_is_help=True,
    add_completion=False,
    # A traceback with local variables could show a passphrase.
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"binauthz-attest {__version__}")
        raise typer.Exit


@app.callback()
def _program(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    pass


def main(arguments: Sequence[str] | None = None, clock: Clock | None = None) -> int:
    """Run the program and return its exit code; `step.errors.ExitCode` lists them.

    Without arguments, the verb that BINAUTHZ_COMMAND or an action's input `command` names runs from
    the environment, and `attest` where they name none.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    program = Program(os.environ, clock or SystemClock())
    try:
        given = given or _command(program)
        with _ended_like_ctrl_c():
            code = app(given, standalone_mode=False, obj=program, prog_name="binauthz-attest")
            return int(code or 0)
    except StepError as error:
        return _fail(error, program, given)
    except typer.TyperException as error:
        hint = "binauthz-attest --help lists the verbs, binauthz-attest VERB --help the options."
        message = error.format_message().rstrip(".")
        return _fail(BadInput(message, hint), program, given)
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001 - no traceback with a text that may hold anything
        return _fail(bug(error), program, given)


@contextmanager
def _ended_like_ctrl_c() -> Iterator[None]:
    """Treat SIGTERM and SIGHUP as Ctrl-C, so that what was done is told.

    As the first process of a container, the program would not be ended by them at all. Under
    nohup, the latter stays ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    if before[signal.SIGHUP] is signal.SIG_IGN:
        del before[signal.SIGHUP]
    for number in before:
        signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _command(program: Program) -> list[str]:
    """The verb to run from the environment alone; raises BadInput for one that cannot be.

    And as `refuse_ineffective` does.
    """
    command = (
        program.environ.get("BINAUTHZ_COMMAND") or program.environ.get("INPUT_COMMAND") or "attest"
    )
    if command not in COMMANDS:
        raise BadInput(f"the command is {quoted(command)}", f"It is one of {', '.join(COMMANDS)}.")
    inputs = {each: _inputs(each) for each in COMMANDS}
    refuse_ineffective(command, inputs, program.environ, misspelt=program.on_github)
    return command.split()


def _inputs(command: str) -> dict[str, str]:
    """The variables of an action's inputs that a command reads, and their options' defaults."""
    verb: Any = typer.main.get_command(app)
    for word in command.split():
        verb = verb.commands[word]
    return {
        variable: "" if parameter.default is None else str(parameter.default).lower()
        for parameter in verb.params
        for variable in parameter.envvar or ()
        if variable.startswith("INPUT_")
    }


def _fail(error: StepError, program: Program, arguments: Sequence[str]) -> int:
    """Report an error that came before the options were known, still in the format asked for."""
    own = takewhile(lambda word: word != "--", arguments)  # what follows is a command's
    named = " ".join(own).replace("=", " ")
    variables = {program.environ.get(name) for name in ("BINAUTHZ_FORMAT", "INPUT_FORMAT")}
    wants_json = "--format json" in named or ("json" in variables and "--format " not in named)
    output = FormatOptions(Format.JSON if wants_json else Format.TEXT)
    goals = {
        "reattest": Goal.REATTESTED,
        "verify": Goal.VERIFIED,
        "gate": Goal.VERIFIED,
        "policy": Goal.ADMITTED,
        "list": Goal.LISTED,
        "discover": Goal.DISCOVERED,
    }
    return refuse(error, goals.get(next(iter(arguments), ""), Goal.ATTESTED), program, output)
