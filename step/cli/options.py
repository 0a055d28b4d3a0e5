"""Options, each stated once: fields of a dataclass, which every verb that has them takes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import Field, field, fields, is_dataclass
from enum import StrEnum
from functools import wraps
from typing import Annotated, Any, get_type_hints

import typer

from step.cli.help import Verb
from step.errors import BadInput

WHAT = "Which images"
WHO = "Which attestors"
KEY = "With which key"
BEFORE = "What must be true before it is signed"
HOW = "How"
WHERE = "Where it is to run"
OUT = "What comes out"

DISTINCT_KEYS = "Want a different key for each attestor: one signature is one statement."

_ABOUT = "step"


class Format(StrEnum):
    """How a result is printed on standard output."""

    TEXT = "text"
    JSON = "json"


def option(
    heading: str | None,
    text: str,
    metavar: str = "TEXT",
    default: Any = None,
    *,
    flag: str = "",
    variables: Sequence[str] | None = None,
) -> Any:
    """An option under a heading of `--help`; its flag and its variables have the field's name.

    One whose default is a bool is a flag with its opposite. `variables` are other names to be read
    from the environment, none if empty; then such a flag has no opposite either.
    """
    return _field(default, text=text, metavar=metavar, heading=heading, flag=flag, names=variables)


def plain_option(text: str, metavar: str, default: Any = None, *, flag: str = "") -> Any:
    """An option of no group, which no variable gives."""
    return option(None, text, metavar, default, flag=flag, variables=())


def argument(
    heading: str | None, text: str, default: Any = None, *, variables: Sequence[str] | None = None
) -> Any:
    """The images that are named without a flag; `...` as default wants one at least."""
    return _field(default, text=text, heading=heading, is_argument=True, names=variables)


def alias() -> Any:
    """gcloud's spelling of an option, for those who come from there."""
    return _field(None)


def variables(name: str) -> list[str]:
    """GitHub passes an action's input as INPUT_<NAME>; elsewhere BINAUTHZ_<NAME> is set by hand.

    https://docs.github.com/en/actions/reference/workflows-and-actions/metadata-syntax#inputs
    """
    return [f"BINAUTHZ_{name}", f"INPUT_{name}"]


def given_of(group: Any) -> list[str]:
    """The flags of a group's fields that something was given for."""
    given = (each.name for each in fields(group) if getattr(group, each.name) != each.default)
    return [f"--{name.replace('_', '-')}" for name in given]


def no_effect(given: Sequence[str], without: str) -> BadInput:
    """The error for options that do nothing: whoever gave them believes that they do."""
    have = "has" if len(given) == 1 else "have"
    return BadInput(
        f"{' and '.join(given)} {have} no effect without {without}", f"Give {without}, too."
    )


def app_of(verb: Callable[..., None], kind: type[Verb] = Verb) -> typer.Typer:
    """A typer app whose one command is the verb; its parameters may be groups of options."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    app.command(cls=kind)(grouped(verb))
    return app


def grouped(verb: Callable[..., None]) -> Callable[..., None]:
    """A verb as typer takes it: for each parameter that is a dataclass, the options of its fields.

    typer reads options from a function's signature, one a parameter
    (https://typer.tiangolo.com/tutorial/options/), so that what several verbs take would have to be
    written, and handed on, in each.
    """
    own = inspect.signature(verb, eval_str=True).parameters.values()

    @wraps(verb)
    def run(**given: Any) -> None:
        verb(**{parameter.name: _gathered(parameter, given) for parameter in own})

    parameters = [spread for parameter in own for spread in _spread(parameter)]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def _field(default: Any, **about: Any) -> Any:
    return field(default=default, metadata={_ABOUT: about})


def _gathered(parameter: inspect.Parameter, given: dict[str, Any]) -> Any:
    group = parameter.annotation
    if not is_dataclass(group):
        return given[parameter.name]
    return group(**{each.name: given[each.name] for each in fields(group)})  # type: ignore[operator]


def _spread(parameter: inspect.Parameter) -> Iterator[inspect.Parameter]:
    group = parameter.annotation
    if not is_dataclass(group):
        yield parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        return
    hints = get_type_hints(group)
    for each in fields(group):
        yield inspect.Parameter(
            each.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=each.default,
            annotation=Annotated[hints[each.name], _typer(each)],
        )


def _typer(each: Field[Any]) -> Any:
    """The option or argument that typer makes of a field."""
    about = each.metadata[_ABOUT]
    flag = "--" + each.name.replace("_", "-")
    if not about:
        return typer.Option(flag, hidden=True)
    named: dict[str, Any] = {
        "help": about["text"],
        "rich_help_panel": about["heading"],
        "show_envvar": False,
    }
    names = about["names"]
    if about.get("is_argument"):
        read = variables("IMAGES") if names is None else names
        return typer.Argument(metavar="IMAGE", envvar=read or None, **named)
    flag = about["flag"] or flag
    is_switch = isinstance(each.default, bool)
    if is_switch and names is None:
        flag = f"{flag}/--no-{flag.removeprefix('--')}"
    read = names if names is not None else variables(each.name.upper())
    metavar = None if is_switch else about["metavar"]
    return typer.Option(flag, metavar=metavar, envvar=read or None, **named)
