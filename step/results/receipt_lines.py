"""Receipts as JSON lines: to a file, a folder, or an object in Cloud Storage."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO

from step.attest import Receipt
from step.cloud.connection import Connection
from step.cloud.storage import Storage
from step.model.names import StorageName
from step.model.shard import Shard
from step.results.files import unwritable
from step.results.receipts import attested
from step.results.result import Result

# Lines of one object.
_PART = 5000


@dataclass
class ReceiptLines:
    """Where receipts go; nothing is seen of a file before it is whole.

    A folder gets a file for each shard. In Cloud Storage, each run has a folder of its own, with
    parts that are written once. Raises BadInput, or what Cloud Storage raises.
    """

    where: str
    result: Result
    shard: Shard
    storage: Callable[[], Storage]
    now: datetime
    _lines: list[str] = field(default_factory=list)
    _parts: int = 0
    _file: IO[bytes] | None = None

    def open(self) -> ReceiptLines:
        """See whether they can be written."""
        if self.where.startswith("gs://"):
            self._folder = StorageName.parse(self.where, "--receipts").child(self._run)
            return self
        try:
            target = Path(self.where)
            if self.where.endswith("/") or target.is_dir():
                target.mkdir(parents=True, exist_ok=True)
                target = target / f"receipts-{self._part}.jsonl"
            self._target = target.resolve()
            self._file = NamedTemporaryFile(  # noqa: SIM115 - closed by `close`
                dir=self._target.parent, prefix=f".{self._target.name}-", delete=False
            )
        except (OSError, ValueError) as error:
            raise unwritable(self.where, error) from None
        return self

    def add(self, receipt: Receipt) -> None:
        """Write a receipt as a line."""
        entry = attested(receipt, self.result).entry
        self._lines.append(json.dumps(entry, separators=(",", ":")) + "\n")
        if len(self._lines) == _PART:
            self._flush()

    def close(self, *, whole: bool) -> None:
        """End it; without `whole`, a file is left as it was before."""
        if self._file is None:
            self._flush()
            return
        try:
            if whole:
                self._flush()
            self._file.close()
            made = Path(self._file.name)
            if whole:
                made.chmod(0o644)
                made.replace(self._target)
        except OSError as error:
            raise unwritable(self.where, error) from None
        finally:
            with suppress(OSError):
                Path(self._file.name).unlink()

    @property
    def _part(self) -> str:
        return f"shard-{self.shard.number:05d}-of-{self.shard.count:05d}"

    @property
    def _run(self) -> str:
        return f"receipts-{self.now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}-{self._part}"

    def _flush(self) -> None:
        if not self._lines:
            return
        data = "".join(self._lines).encode("ascii")
        self._lines.clear()
        if self._file is None:
            self._parts += 1
            name = self._folder.child(f"part-{self._parts:06d}.jsonl")
            self.storage().create(name, data)
            return
        try:
            self._file.write(data)
        except OSError as error:
            raise unwritable(self.where, error) from None


def write_receipts(
    where: str, result: Result, connection: Callable[[], Connection], now: datetime
) -> None:
    """Write the receipts of a whole result, as `ReceiptLines` does; raises what that raises."""
    lines = ReceiptLines(where, result, Shard(), lambda: Storage(connection()), now).open()
    for row in result.rows:
        if isinstance(row, Receipt):
            lines.add(row)
    lines.close(whole=True)
