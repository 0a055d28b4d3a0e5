"""An action's inputs that would have no effect: refused, as a command line refuses them."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches

from step.errors import BadInput

_PREFIX = "INPUT_"
# How alike two names are (difflib) where one is the other, misspelt.
_ALIKE = 0.85


def refuse_ineffective(
    command: str,
    commands: Mapping[str, Mapping[str, str]],
    environ: Mapping[str, str],
    *,
    misspelt: bool,
) -> None:
    """Raise BadInput for an input that `command` does not read, and with `misspelt` that none does.

    `commands` has, for each command, the variables that it reads and their options' defaults:
    GitHub sets every one, to the default in action.yml where nothing is given, and of an input that
    there is not it only warns. Whoever gave one believes that something is checked.
    """
    every = {name: default for own in commands.values() for name, default in own.items()}
    known = {*every, f"{_PREFIX}COMMAND"}
    for name, value in environ.items():
        if not value or name in commands[command] or not name.startswith(_PREFIX):
            continue
        called = name.removeprefix(_PREFIX).lower()
        if name in every:
            readers = {each: own[name] for each, own in commands.items() if name in own}
            if value.lower() not in readers.values():
                raise BadInput(
                    f"the input {called} has no effect on {command}",
                    f"Leave it out; it is for {' and '.join(readers)}.",
                )
        elif misspelt and name not in known:
            for meant in get_close_matches(name.replace("-", "_"), known, 1, _ALIKE):
                raise BadInput(
                    f"there is no input {called[:40]}",
                    f"Is {meant.removeprefix(_PREFIX).lower()} what is meant?",
                )
