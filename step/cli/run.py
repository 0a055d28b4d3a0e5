"""The whole run: how long it may take, and whether it may be with an emulator."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from step.cli import options as opt
from step.clock import parse_duration
from step.concurrency import Deadline
from step.errors import BadInput

if TYPE_CHECKING:
    from step.cli.program import Edge
    from step.cloud.connection import Connection

# Beyond the waits that are asked for: many times what a run takes with services that answer.
_DEADLINE = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class RunChoice:
    """What the options say of the whole run."""

    deadline: opt.Deadline = None
    allow_emulator: opt.AllowEmulator = False

    def until(self, edge: Edge, waits: timedelta = timedelta(0)) -> Deadline:
        """When the run ends that begins now: as --deadline says, else 10 minutes beyond its waits.

        Raises BadInput for what is not a duration.
        """
        given = self.deadline
        limit = _DEADLINE + waits if given is None else parse_duration(given, "--deadline")
        return Deadline.after(edge.clock, limit)

    def connection(self, edge: Edge, deadline: Deadline) -> Connection:
        """A connection to Google Cloud, or to an emulator, that no server keeps beyond then.

        Raises BadInput for an emulator elsewhere than on this machine: whoever sets an environment
        variable could name one of their own. A flag on the command line allows it.
        """
        from step.cloud.connection import Connection

        emulator = edge.emulator
        if emulator and not (self.allow_emulator or is_loopback(emulator)):
            raise BadInput(
                f"BINAUTHZ_EMULATOR_HOST is {emulator}, which is not on this machine",
                "Use an emulator on 127.0.0.1; or say on the command line that this one is meant: "
                "--allow-emulator.",
            )
        return Connection(edge.clock, edge.environ, emulator, deadline)

    def require_real(self, edge: Edge) -> None:
        """Raise BadInput where an emulator would open a gate that leads to a command.

        An environment variable alone must not: a flag on the command line may.
        """
        if edge.emulator and not self.allow_emulator:
            raise BadInput(
                "BINAUTHZ_EMULATOR_HOST is set, and what an emulator says runs no command",
                "Unset it. If this is a test, say so on the command line: gate --allow-emulator.",
            )


def is_loopback(address: str) -> bool:
    """Whether `HOST:PORT` is this machine by its address, or as localhost (RFC 6761)."""
    import ipaddress

    host = address.rpartition(":")[0].strip("[]").lower()
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
