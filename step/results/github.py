"""GitHub's runner: outputs, the job's summary and annotations."""

from __future__ import annotations

import html
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from step.results.document import fitted
from step.results.files import append
from step.results.result import Result
from step.results.text import one_line

# A job's outputs together may take 1 MB in UTF-16, which is two bytes a character:
# https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-syntax#jobsjob_idoutputs
# Half is left to the other outputs and to other steps.
RECEIPTS_LIMIT = 250_000
# src/Runner.Worker/FileCommandManager.cs of https://github.com/actions/runner; in bytes.
SUMMARY_LIMIT = 1024 * 1024


def publish(result: Result, environ: Mapping[str, str]) -> None:
    """Append outputs and summary to the files that the runner names, if it names any.

    Raises BadInput when one cannot be written; the other is written all the same.
    """
    try:
        if path := environ.get("GITHUB_OUTPUT"):
            delimiter = f"ghadelimiter_{uuid.uuid4()}"
            every = outputs(result)
            append(path, "".join(heredoc(*each, delimiter) for each in every.items()))
    finally:
        if path := environ.get("GITHUB_STEP_SUMMARY"):
            used = 0
            with suppress(OSError, ValueError):  # not there yet; any other reason, `append` tells
                used = Path(path).stat().st_size
            append(path, summary(result, SUMMARY_LIMIT - used))


def outputs(result: Result) -> dict[str, str]:
    """The action's outputs by name.

    `image`, `digest` and `images` name only what all that was asked is a yes of. `receipts` is the
    JSON document; over 250 000 characters it is without payload and signature, or shorter still.
    """
    images = result.images
    return {
        "image": str(images[0]) if images else "",
        "images": _list(map(str, images)),
        "digest": str(images[0].digest) if images else "",
        "attestations": _list(result.attestations),
        "public_key_ids": _list(result.public_key_ids),
        "status": result.status,
        "emulator": "true" if result.emulator else "",  # as an expression, "false" would be true
        "receipts": fitted(result, RECEIPTS_LIMIT),
    }


def heredoc(name: str, value: str, delimiter: str) -> str:
    """A value as the runner's file commands read it; `delimiter` must be one nobody can guess.

    Raises ValueError when the value holds the delimiter and so could end itself.
    """
    if delimiter in value:
        raise ValueError(f"the value of {name} holds its own delimiter")
    return f"{name}<<{delimiter}\n{value}\n{delimiter}\n"


def annotate(result: Result) -> str:
    """An `::error` command for each complaint, one a line; empty when there is none."""
    return "".join(
        _annotation(f"Not {result.goal.word}", about, message)
        for about, message in result.complaints()
    )


def warning(text: str) -> str:
    """A `::warning` command, on a line of its own."""
    return f"::warning::{_data(one_line(text))}\n"


def summary(result: Result, limit: int = SUMMARY_LIMIT) -> str:
    """The result as Markdown of at most `limit` bytes; rows that do not fit are only counted.

    The tables are HTML, in which Markdown is not read, and every cell is escaped.
    """
    told = "**An emulator said this, not Google Cloud.**\n\n" if result.emulator else ""
    text = f"{told}### Binary Authorization: {result.status}\n\n"
    for head, rows in tables(result):
        text += _table(head, [_row(*row) for row in rows], limit - len(text.encode()))
    return text if len(text.encode()) <= limit else ""


def tables(result: Result) -> Iterator[tuple[tuple[str, ...], list[tuple[str, ...]]]]:
    """The result for a page: headings, and rows of as many texts; failures come first."""
    yield (
        (f"Not {result.goal.word}", "Attestor", "Error", "Fix"),
        [
            (
                str(failure.image or ""),
                str(failure.attestor or ""),
                f"{failure.error.message} (exit code {failure.error.exit_code.value})",
                failure.error.hint,
            )
            for failure in result.failures
        ],
    )
    grouped: dict[tuple[str, ...], list[tuple[str, ...]]] = {}
    for view in result.views:
        grouped.setdefault(view.head, []).append(view.cells)
    yield from grouped.items()


def _row(*cells: str) -> str:
    escaped = (html.escape(one_line(cell)) for cell in cells)
    inner = "".join(f"<td><code>{cell}</code></td>" if cell else "<td></td>" for cell in escaped)
    return f"<tr>{inner}</tr>\n"


def _table(head: tuple[str, ...], rows: list[str], limit: int) -> str:
    if not rows:
        return ""
    start = "<table>\n<tr>" + "".join(f"<th>{cell}</th>" for cell in head) + "</tr>\n"
    end = "</table>\n\n"
    room = limit - len(start) - len(end) - len(_more(len(rows)))
    shown: list[str] = []
    for row in rows:
        room -= len(row.encode())
        if room < 0:
            return start + "".join(shown) + _more(len(rows) - len(shown)) + end
        shown.append(row)
    return start + "".join(shown) + end


def _more(count: int) -> str:
    return f"<tr><td>and {count} more</td></tr>\n"


def _annotation(what: str, about: str, message: str) -> str:
    title = f"{what}: {about}" if about else what
    return f"::error title={_property(one_line(title))}::{_data(one_line(message))}\n"


# https://github.com/actions/toolkit/blob/main/packages/core/src/command.ts
def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def _list(values: Iterable[str]) -> str:
    return "\n".join(dict.fromkeys(map(one_line, values)))
