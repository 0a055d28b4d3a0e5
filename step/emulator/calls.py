"""The call log: what clients asked the emulator, and how it answered."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock
from typing import TextIO

from step.emulator.refusal import EmulatorError


@dataclass(frozen=True, slots=True)
class Call:
    """One answered call."""

    number: int
    """From 1, in the order of the answers."""
    method: str
    """Such as ``CreateOccurrence``."""
    path: str
    """Such as ``/grafeas.v1.Grafeas/CreateOccurrence``."""
    resource: str
    """The name, parent or attestor that the request is about."""
    status: str
    """A gRPC status name, ``OK`` included."""
    wrote: bool
    """Whether it changed what the service keeps, also when the answer was then lost."""
    milliseconds: float


class CallLog:
    """All calls so far, in order; with a file, also a JSON line each, written at once."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._lock = Lock()
        self._answered = 0
        self._calls: list[Call] = []
        self._file: TextIO | None = None

    def __iter__(self) -> Iterator[Call]:
        with self._lock:
            return iter(tuple(self._calls))

    def __len__(self) -> int:
        with self._lock:
            return len(self._calls)

    def count(self, method: str, status: str | None = None) -> int:
        """How often a method was called, or ended with one status."""
        return sum(call.method == method and status in (None, call.status) for call in self)

    def writes(self) -> tuple[Call, ...]:
        """The calls that changed what a service keeps."""
        return tuple(call for call in self if call.wrote)

    def clear(self) -> None:
        """Forget the calls so far; the file keeps them, and numbers go on."""
        with self._lock:
            self._calls.clear()

    def open(self) -> None:
        """Begin to append to the file, if there is one; EmulatorError when that cannot be."""
        if self._path is None:
            return
        try:
            self._file = self._path.open("a", encoding="utf-8")
        except OSError as error:
            raise EmulatorError(f"cannot write the call log {self._path}: {error}") from error

    def close(self) -> None:
        """Stop writing to the file; the calls stay readable."""
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None

    def add(
        self, *, method: str, path: str, resource: str, status: str, wrote: bool, seconds: float
    ) -> None:
        """Append an answered call."""
        with self._lock:
            self._answered += 1
            call = Call(
                number=self._answered,
                method=method,
                path=path,
                resource=resource,
                status=status,
                wrote=wrote,
                milliseconds=round(seconds * 1000, 3),
            )
            self._calls.append(call)
            if self._file is not None:
                self._file.write(json.dumps(asdict(call)) + "\n")
                self._file.flush()
