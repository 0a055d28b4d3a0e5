"""A part of bulk work: every image is in exactly one, whatever the order of the list."""

from __future__ import annotations

import re
from dataclasses import dataclass

from step.errors import BadInput
from step.model.quoting import quoted


@dataclass(frozen=True, slots=True)
class Shard:
    """Part `number`, from 1, of `count`; an image belongs to it by its digest alone.

    A list that changes between two runs moves no image to another part. Raises BadInput for a
    number that is not one of them.
    """

    number: int = 1
    count: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count:
            raise BadInput(
                f"there is no part {self.number} of {self.count}",
                "Parts are numbered from 1: the last of 16 is 16/16.",
            )

    @classmethod
    def parse(cls, text: str, option: str) -> Shard:
        """Read `I/N`; raises BadInput naming the option."""
        match = re.fullmatch(r"([0-9]{1,5})/([0-9]{1,5})", text)
        if match is None:
            raise BadInput(f"{option}: {quoted(text)} is not I/N", "Write 3/16 for part 3 of 16.")
        return cls(int(match[1]), int(match[2]))

    def holds(self, digest: bytes) -> bool:
        """Whether an image is in this part; `digest` has the 32 bytes of a sha256.

        They are a hash already, so that parts are of about one size.
        """
        return int.from_bytes(digest[:8]) % self.count == self.number - 1

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"
