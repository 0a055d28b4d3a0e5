"""Writing results to files that others named."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from step.errors import BadInput


def write_whole(path: str, text: str) -> None:
    """Write UTF-8 text to a file, as `write_pieces` does."""
    write_pieces(path, [text])


def write_pieces(path: str, pieces: Iterable[str]) -> None:
    """Write UTF-8 text to a file of mode 0644, so that no reader sees a part of it.

    A link is followed. Raises BadInput naming the path.
    """
    try:
        with _beside(path) as (target, folder):
            whole = Path(folder, target.name)
            with whole.open("wb") as file:
                for piece in pieces:
                    file.write(piece.encode("utf-8"))
            whole.chmod(0o644)
            whole.replace(target)
    except (OSError, ValueError) as error:
        raise unwritable(path, error) from None


def require_writable(path: str) -> None:
    """Raise BadInput if `write_whole` could not write this file now; leaves nothing behind."""
    try:
        with _beside(path):
            pass
    except (OSError, ValueError) as error:
        raise unwritable(path, error) from None


def append(path: str, text: str) -> None:
    """Add UTF-8 text to the end of a file, line ends as they are; raises BadInput naming it."""
    try:
        with Path(path).open("ab") as file:
            file.write(text.encode("utf-8"))
    except (OSError, ValueError) as error:
        raise unwritable(path, error) from None


@contextmanager
def _beside(path: str) -> Iterator[tuple[Path, str]]:
    """The file itself, links followed, and a folder next to it to write a new one in."""
    target = Path(path).resolve()
    if target.exists() and not target.is_file():
        raise BadInput(f"{path!r} is not a regular file", _HINT)
    with tempfile.TemporaryDirectory(prefix=".binauthz-", dir=target.parent) as folder:
        yield target, folder


_HINT = "Give a file in a folder that exists and that this user may write to."


def unwritable(path: str, error: OSError | ValueError) -> BadInput:
    """The error for a file that cannot be written."""
    reason = error.strerror if isinstance(error, OSError) else "it is not a path"
    return BadInput(f"{path!r} cannot be written: {reason}", _HINT)
