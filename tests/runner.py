"""GitHub's runner, as far as it reads what a step writes: a model of its published source.

https://github.com/actions/runner: src/Runner.Common/ActionCommand.cs and
src/Runner.Worker/FileCommandManager.cs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

REGISTERED = {
    "add-mask",
    "add-matcher",
    "add-path",
    "debug",
    "echo",
    "endgroup",
    "error",
    "group",
    "notice",
    "remove-matcher",
    "save-state",
    "set-env",
    "set-output",
    "stop-commands",
    "warning",
}


@dataclass(frozen=True)
class Command:
    """A command that the runner would run."""

    name: str
    data: str
    properties: dict[str, str] = field(default_factory=dict)


def commands(log: str) -> list[Command]:
    """Every command in a log; characters that draw nothing are skipped, as by culture."""
    lines = re.split(r"\r\n|\r|\n", log)
    return [command for line in lines if (command := _new(line) or _old(line)) is not None]


def outputs(file: str) -> dict[str, str]:
    """What a file of outputs sets, `NAME=VALUE` lines included."""
    actual: dict[str, str] = {}
    lines = file.split("\n")
    if lines.pop() != "":
        raise ValueError("the last line has no end")
    while lines:
        line = lines.pop(0)
        equals, mark = line.find("="), line.find("<<")
        if not line:
            continue
        if equals >= 0 and (mark < 0 or equals < mark):
            actual[line[:equals]] = line[equals + 1 :]
        elif mark > 0 and line[mark + 2 :]:
            end = lines.index(line[mark + 2 :])
            actual[line[:mark]] = "\n".join(lines[:end])
            lines = lines[end + 1 :]
        else:
            raise ValueError(f"invalid format {line!r}")
    return actual


def _new(line: str) -> Command | None:
    head, separator, data = _drawn(line).lstrip().removeprefix("::").partition("::")
    name, _, properties = head.partition(" ")
    if not (_drawn(line).lstrip().startswith("::") and separator and name.lower() in REGISTERED):
        return None
    pairs = (each.split("=", 1) for each in properties.strip().split(",") if "=" in each)
    return Command(name.lower(), _unescape(data), {key: _unescape(text) for key, text in pairs})


def _old(line: str) -> Command | None:
    match = re.search(r"##\[([^\] ]*)[^\]]*\](.*)", _drawn(line), re.DOTALL)
    if match is None or match[1].lower() not in REGISTERED:
        return None
    return Command(match[1].lower(), match[2])


def _drawn(line: str) -> str:
    return re.sub(
        "[\u00ad\u034f\u061c\u115f\u1160\u200b-\u200f\u2060-\u206f\ufe00-\ufe0f]", "", line
    )


def _unescape(text: str) -> str:
    for token, char in (("%0D", "\r"), ("%0A", "\n"), ("%3A", ":"), ("%2C", ","), ("%25", "%")):
        text = text.replace(token, char)
    return text
