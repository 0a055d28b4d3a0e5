"""The whole run: how long it may take, and whether it may be with an emulator."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from step.cli.options import HOW, option
from step.clock import parse_duration
from step.concurrency import Deadline
from step.errors import BadInput

if TYPE_CHECKING:
    from step.cli.program import Program
    from step.cloud.connection import Connection
    from step.cloud.rates import Rates

# Beyond the waits that are asked for: many times what a run takes with services that answer, and
# with that room for repeating what fails for this long.
_DEADLINE = timedelta(minutes=10)
_RETRY_FOR = "1m"
RETRIES = (
    "How long a call that fails in passing is repeated, as where a quota is exhausted: 90s, 1m or "
    "15m."
)


@dataclass(frozen=True, slots=True)
class ConnectionOptions:
    """What the options say of the whole run, and of the services that it asks."""

    deadline: str | None = option(
        HOW,
        "When the whole run ends, whatever a server does: 90s, 10m or 1h. Default 10m beyond the "
        "waits that are asked for.",
        "DURATION",
    )
    retry_for: str = option(HOW, RETRIES, "DURATION", _RETRY_FOR)
    allow_emulator: bool = option(
        HOW,
        "Take an emulator that is not on this machine, and let what it says open a gate.",
        default=False,
        variables=(),
    )

    def until(self, program: Program, waits: timedelta = timedelta(0)) -> Deadline:
        """When the run ends that begins now: as --deadline says, else 10 minutes beyond its waits.

        A longer --retry-for is a wait that is asked for.

        Raises BadInput for what is not a duration.
        """
        if self.deadline is not None:
            return Deadline.after(program.clock, parse_duration(self.deadline, "--deadline"))
        longer = parse_duration(self.retry_for, "--retry-for") - parse_duration(_RETRY_FOR)
        return Deadline.after(program.clock, _DEADLINE + waits + max(longer, timedelta(0)))

    def connection(
        self, program: Program, deadline: Deadline, rates: Rates | None = None
    ) -> Connection:
        """A connection to Google Cloud, or to an emulator, that no server keeps beyond then.

        Raises BadInput for an emulator elsewhere than on this machine: whoever sets an environment
        variable could name one of their own. A flag on the command line allows it.
        """
        from step.cloud.connection import Connection

        emulator = program.emulator
        if emulator and not (self.allow_emulator or is_loopback(emulator)):
            raise BadInput(
                f"BINAUTHZ_EMULATOR_HOST is {emulator}, which is not on this machine",
                "Use an emulator on 127.0.0.1; or say on the command line that this one is meant: "
                "--allow-emulator.",
            )
        retry_for = parse_duration(self.retry_for, "--retry-for")
        return Connection(program.clock, program.environ, emulator, deadline, retry_for, rates)

    def require_real(self, program: Program) -> None:
        """Raise BadInput where an emulator would open a gate that leads to a command.

        An environment variable alone must not: a flag on the command line may.
        """
        if program.emulator and not self.allow_emulator:
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
