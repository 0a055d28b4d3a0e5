"""How often methods may be called: what was asked for, divided among those who share the work."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from step.cloud.methods import METHODS, Method
from step.concurrency import Pace, spaced
from step.errors import BadInput
from step.model.quoting import quoted


@dataclass(frozen=True, slots=True)
class Rates:
    """Calls a minute of some methods, by name, for all `shards` of the work together.

    What a method is allowed that is not among them is found while it is called.
    """

    a_minute: Mapping[str, int] = field(default_factory=dict)
    shards: int = 1

    @classmethod
    def parse(cls, texts: Iterable[str], option: str, shards: int = 1) -> Rates:
        """Read `METHOD=N`, N calls a minute; raises BadInput naming the option."""
        rates = {}
        known = {method.name for method in METHODS}
        for text in texts:
            name, _, number = text.partition("=")
            if name not in known:
                raise BadInput(
                    f"{option}: {quoted(text)} names no method",
                    f"Write METHOD=N for N calls a minute; there are {', '.join(sorted(known))}.",
                )
            if not (number.isascii() and number.isdecimal() and 0 < int(number) < 10**9):
                raise BadInput(
                    f"{option}: {quoted(text)} has no whole number of calls a minute",
                    f"Write {name}=600, for example.",
                )
            rates[name] = int(number)
        return cls(rates, shards)

    def of(self, method: Method) -> float | None:
        """How many calls a minute this run makes at most, where that was said."""
        rate = self.a_minute.get(method.name)
        return rate / self.shards if rate else None

    def pace(self, method: Method) -> Pace:
        """How fast to call a method, to begin with."""
        rate = self.of(method)
        least = timedelta(0) if rate is None else spaced(rate)
        return Pace(least, 1 / self.shards)
