"""The verbs by name, each imported when it is run or shown, and not before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from typing import Any

import typer.main
from typer.core import TyperGroup

# In the order of `--help`: the module of this package whose typer app the verb is.
_MODULES = {
    "attest": "attest",
    "reattest": "reattest",
    "verify": "verify",
    "gate": "gate",
    "list": "listing",
    "discover": "discover",
    "payload": "payload",
    "emulator": "emulator",
    "policy": "policy",
}


class Verbs(TyperGroup):
    """The program's verbs; a run imports the one that it is for.

    Imports are most of a start, and a verb's options are made from annotations, which takes as long
    as importing it.
    """

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands: Any = _Verbs()


class _Verbs(Mapping[str, Any]):
    def __getitem__(self, name: str) -> Any:
        return _verb(name, _MODULES[name])

    def __iter__(self) -> Iterator[str]:
        return iter(_MODULES)

    def __len__(self) -> int:
        return len(_MODULES)


@cache
def _verb(name: str, module: str) -> Any:
    verb = typer.main.get_command(import_module(f"step.cli.{module}").app)
    verb.name = name
    return verb
