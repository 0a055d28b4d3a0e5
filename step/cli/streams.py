"""Standard streams that may be closed or full: what cannot be written there is lost, no more."""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress
from typing import Any, TextIO

from step.errors import BadInput


class _Losing(io.FileIO):
    """A stream whose first failure is kept, and ends it: half of a document is of no use."""

    lost: OSError | None = None

    def write(self, data: Any, /) -> int:
        """Write, or take it for written."""
        if self.lost is None:
            try:
                return super().write(data) or 0
            except OSError as error:
                self.lost = error
        return memoryview(data).nbytes


def secure_streams() -> None:
    """Have three standard streams, whatever the process was started with.

    A stream that is closed becomes one that leads nowhere: else the next file that is opened would
    take its number, and what is meant for the stream would be written there.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free, so this one
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8", errors="surrogateescape")  # noqa: SIM115
    sys.stdout = _losing(1, sys.stdout, "strict")
    sys.stderr = _losing(2, sys.stderr, "backslashreplace")


def lost(stream: TextIO) -> OSError | None:
    """Why a standard stream could not be written, if it could not."""
    with suppress(OSError):
        stream.flush()
    raw = getattr(getattr(stream, "buffer", None), "raw", None)
    return raw.lost if isinstance(raw, _Losing) else None


def require_printed() -> None:
    """Raise BadInput if standard output was lost; for those whose one result it is."""
    error = lost(sys.stdout)
    if error is not None:
        raise BadInput(f"standard output cannot be written: {error.strerror}", "Send it elsewhere.")


def _losing(number: int, stream: TextIO | None, errors: str) -> TextIO:
    """The stream with that number anew, as Python has set it up."""
    encoding = "utf-8" if stream is None else stream.encoding
    if stream is not None and stream.errors:
        errors = stream.errors
    raw = _Losing(number, "w", closefd=False)
    return io.TextIOWrapper(
        io.BufferedWriter(raw), encoding, errors, line_buffering=number == 2 or raw.isatty()
    )
