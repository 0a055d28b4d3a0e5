"""Options that verbs share, as one parameter: a dataclass whose fields are options."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from functools import wraps
from typing import Any, get_type_hints

import typer

from step.cli.help import Verb


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
        verb(**{one.name: _gathered(one, given) for one in own})

    parameters = [parameter for one in own for parameter in _spread(one)]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {one.name: one.annotation for one in parameters}
    return run


def _gathered(parameter: inspect.Parameter, given: dict[str, Any]) -> Any:
    group = parameter.annotation
    if not is_dataclass(group):
        return given[parameter.name]
    return group(**{field.name: given[field.name] for field in fields(group)})  # type: ignore[operator]


def _spread(parameter: inspect.Parameter) -> Iterator[inspect.Parameter]:
    group = parameter.annotation
    if not is_dataclass(group):
        yield parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        return
    options = get_type_hints(group, include_extras=True)
    for field in fields(group):
        yield inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=field.default,
            annotation=options[field.name],
        )
