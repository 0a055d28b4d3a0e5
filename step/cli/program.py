"""The program as a verb has it: the environment, the clock, the terminal, and what files hold."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from step.clock import Clock
from step.errors import BadInput

if TYPE_CHECKING:
    from step.cloud.connection import Connection
    from step.discovery.environment import Environment
    from step.results.console import Terminal

_EMULATOR_HOST = "BINAUTHZ_EMULATOR_HOST"
_ADDRESS = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9a-fA-F:]+\]):[0-9]{1,5}")
# What is written to Cloud Storage after a run.
_STORING = timedelta(minutes=5)
# Far above any key, signature or build record, far below what could fill a runner's memory.
_FILE_LIMIT = 10 * 1024 * 1024


@dataclass(frozen=True)
class Program:
    """What a verb may ask of the outside; the only holder of the environment."""

    environ: Mapping[str, str]
    clock: Clock

    @property
    def emulator(self) -> str | None:
        """`host:port` of an emulator to use instead of Google Cloud, or None.

        Raises BadInput when it is set to anything else.
        """
        address = self.environ.get(_EMULATOR_HOST, "")
        if address and not _ADDRESS.fullmatch(address):
            raise BadInput(
                f"{_EMULATOR_HOST} is {address!r}, not HOST:PORT",
                "Set it to what `binauthz-attest emulator` prints, for example 127.0.0.1:8080.",
            )
        return address or None

    @property
    def uses_emulator(self) -> bool:
        """Whether something is set to be used instead of Google Cloud."""
        return bool(self.environ.get(_EMULATOR_HOST))

    @cached_property
    def environment(self) -> Environment:
        """The CI around this run."""
        from step.discovery.environment import Environment

        return Environment.detect(self.environ)

    @property
    def on_github(self) -> bool:
        """Whether GitHub's runner runs this step, and reads its log."""
        from step.discovery.environment import Ci

        return self.environment.ci is Ci.GITHUB

    @property
    def terminal(self) -> Terminal:
        """The standard streams."""
        from step.results.console import Terminal

        return Terminal(sys.stdout, sys.stderr, self.environ)

    def storage_connection(self) -> Connection:
        """A connection for what is written after a run, which has its own time for that."""
        from step.cloud.connection import Connection
        from step.concurrency import Deadline

        deadline = Deadline.after(self.clock, _STORING)
        return Connection(self.clock, self.environ, self.emulator, deadline)

    def warn(self, text: str) -> None:
        """Show a warning, on GitHub as an annotation."""
        if self.on_github:
            from step.results import github

            sys.stderr.write(github.warning(text))
        else:
            self.terminal.warning(text)

    def warn_of_emulator(self) -> None:
        """Say that nothing is real, where an emulator is used; BadInput for a bad address."""
        if self.emulator:
            self.warn(f"everything goes to the emulator at {self.emulator}, not to Google Cloud")

    def refuse_empty(self, *groups: Any) -> None:
        """Raise BadInput if a variable of these groups of options is set, but to nothing.

        Whoever set it believes that something is asked for. An action's input is different: it is
        empty where it is not given.
        """
        for option in (each for group in groups for each in fields(group)):
            variable = f"BINAUTHZ_{option.name.upper()}"
            if not self.environ.get(variable, "unset").strip():
                raise BadInput(
                    f"{variable} is set, but empty",
                    "Is what it is set from given? Where it is not wanted, unset the variable.",
                )


def read_file(path: str, option: str, limit: int = _FILE_LIMIT) -> bytes:
    """The bytes of a file that an option names, or of standard input for `-`.

    Raises BadInput when it cannot be read or has more bytes than `limit`.
    """
    try:
        if path == "-":
            data = sys.stdin.buffer.read(limit + 1)
        else:
            with Path(path).open("rb") as file:
                data = file.read(limit + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a path"
        raise BadInput(
            f"{option}: {path!r} cannot be read: {reason}",
            "In a container, the file must be in a folder that is mounted into it.",
        ) from None
    if len(data) > limit:
        raise BadInput(f"{option}: {path!r} is over {limit >> 20} MiB", "Is this the right file?")
    return data


def read_text(path: str, option: str, limit: int = _FILE_LIMIT) -> str:
    """Like `read_file`, as UTF-8 text; a byte order mark is dropped."""
    try:
        return read_file(path, option, limit).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise BadInput(
            f"{option}: {path!r} is not UTF-8 text", "A build tool's record is text."
        ) from None
