"""What others wrote, in a message: quoted, on one line, and no longer than anybody reads."""

from __future__ import annotations

from collections.abc import Mapping

from step.model.bounds import TEXT_LENGTH


def shortened(text: str, limit: int = TEXT_LENGTH) -> str:
    """The text, or as much of it as is shown; the whole may be as long as its writer likes."""
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def quoted(value: object, limit: int = 120) -> str:
    """A value in quotes; a list or a mapping by name, as aliases of YAML make it endless."""
    if isinstance(value, Mapping | list | tuple):
        return "a list" if isinstance(value, list | tuple) else "a mapping"
    return repr(shortened(str(value), limit))


def on_one_line(text: str, limit: int = 300) -> str:
    """The words of a text, as a server or a library gave it."""
    return shortened(" ".join(text.split()), limit)
