"""What bulk work has done, in lines that outlive it: in a file, or in parts in Cloud Storage.

The notes are the truth, the journal saves work: what is lost of it costs signatures made again.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from step.cloud.storage import Storage
from step.errors import BadInput
from step.model.attestation import Attestation, Signature
from step.model.image import ImageRef
from step.model.names import StorageName
from step.model.quoting import quoted
from step.model.shard import Shard
from step.model.strict import load_object

FORMAT = "binauthz-attest journal 1"


@dataclass(frozen=True, slots=True)
class Header:
    """What a journal is of: it goes on only with the same attestors, keys, source and part."""

    attestors: tuple[str, ...]
    public_key_ids: tuple[str, ...]
    source: str
    shard: str
    emulator: bool

    def to_json(self) -> dict[str, Any]:
        """The first line."""
        known: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return {"format": FORMAT} | known

    def difference(self, line: dict[str, Any]) -> str:
        """What another first line has that is different; empty where it is the same."""
        mine = self.to_json()
        keys = [*mine, *(key for key in line if key not in mine)]
        return ", ".join(key for key in keys if line.get(key) != mine.get(key))


@dataclass(frozen=True, slots=True)
class Signed:
    """A signature that was made; a claim, until it is verified again."""

    image: ImageRef
    attestor: str
    attestation: Attestation

    def to_json(self) -> dict[str, Any]:
        """A line."""
        [signature] = self.attestation.signatures
        return {
            "signed": str(self.image),
            "attestor": self.attestor,
            "public_key_id": signature.key_id,
            "payload": base64.b64encode(self.attestation.payload).decode(),
            "signature": base64.b64encode(signature.value).decode(),
        }


@dataclass(frozen=True, slots=True)
class Ended:
    """That an image was stored for an attestor and key, or failed; a note for people."""

    digest: str
    attestor: str
    public_key_id: str
    status: str
    occurrence: str | None = None
    error: str | None = None

    def to_json(self) -> dict[str, Any]:
        """A line."""
        return {"ended": self.digest} | {
            key: value for key, value in asdict(self).items() if value and key != "digest"
        }


Entry: TypeAlias = Signed | Ended


class Lines(Protocol):
    """Where lines are kept."""

    def earlier(self) -> Iterator[bytes]:
        """The lines from before this run, without their ends."""

    def append(self, data: bytes) -> None:
        """Add whole lines; they are there for good when it returns."""

    def close(self) -> None:
        """Let it go."""


@dataclass
class Journal:
    """The journal of one run: what earlier runs left, and what this one adds."""

    lines: Lines
    header: Header
    where: str
    _begun: bool = False
    _kept: list[Entry] = field(default_factory=list)

    def open(self) -> Journal:
        """See whether it can go on; raises BadInput for a journal of other work."""
        first = next(self.lines.earlier(), None)
        if first is not None:
            if different := self.header.difference(load_object(first) or {}):
                raise BadInput(
                    f"--journal: {self.where} is of other work: its {different} differ",
                    "Name a journal of its own for this work; the other stays as it is.",
                )
            self._begun = True
        return self

    def signed(self) -> Iterator[Signed]:
        """The signatures of earlier runs, in order; nothing of them is verified yet.

        Raises BadInput for a line that cannot be read.
        """
        for number, line in enumerate(self.lines.earlier(), 1):
            entry = load_object(line)
            if entry is None:
                raise self._unreadable(number)
            if "signed" in entry:
                yield self._read(entry, number)

    def keep(self, entry: Entry) -> None:
        """Take an entry that is written with the next batch."""
        self._kept.append(entry)

    def write(self, entries: Iterable[Entry] = ()) -> None:
        """Write entries, and what was kept, for good."""
        new = [*self._kept, *entries]
        if not new:
            return
        # Not before there is something to tell: until then it is nobody's.
        head = [] if self._begun else [self.header.to_json()]
        documents = [*head, *(entry.to_json() for entry in new)]
        self.lines.append("".join(f"{json.dumps(each)}\n" for each in documents).encode("ascii"))
        self._begun = True
        self._kept.clear()

    def close(self) -> None:
        """Write what was kept, and let it go."""
        try:
            self.write()
        finally:
            self.lines.close()

    def _read(self, entry: dict[str, Any], number: int) -> Signed:
        try:
            payload, signature = (
                base64.b64decode(entry[key], validate=True) for key in ("payload", "signature")
            )
            key_id, attestor = entry["public_key_id"], entry["attestor"]
            if not (isinstance(key_id, str) and isinstance(attestor, str)):
                raise self._unreadable(number)
            image = ImageRef.parse(entry["signed"])
        except (ValueError, LookupError, TypeError, AttributeError, BadInput):
            raise self._unreadable(number) from None
        return Signed(image, attestor, Attestation(payload, (Signature(key_id, signature),)))

    def _unreadable(self, number: int) -> BadInput:
        return BadInput(
            f"--journal: line {number} of {self.where} cannot be read",
            "Move it away: without it, what is not on the notes is signed again.",
        )


class FileLines:
    """Lines in a file that one run at a time writes to.

    A last line without its end was torn by whatever ended the run before, and is dropped. Raises
    BadInput where the file cannot be written, or another run has it.
    """

    def __init__(self, path: str, option: str) -> None:
        self._option, self._path = option, path
        try:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            self._file = Path(path).open("a+b")  # noqa: SIM115 - closed by `close`
        except (OSError, ValueError) as error:
            raise self._unwritable(error) from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._size = _whole(self._file)
            self._file.truncate(self._size)
        except BlockingIOError:
            self._file.close()
            raise BadInput(
                f"{option}: another run writes to {path!r}", "Give each run a file of its own."
            ) from None
        except OSError as error:
            self._file.close()
            raise self._unwritable(error) from None

    def earlier(self) -> Iterator[bytes]:
        """As of `Lines`; what is appended meanwhile is not among them."""
        with Path(self._path).open("rb") as file:
            left = self._size
            while left > 0 and (line := file.readline()):
                left -= len(line)
                yield line.removesuffix(b"\n")

    def append(self, data: bytes) -> None:
        """As of `Lines`: synced, once for all of it."""
        try:
            self._file.write(data)
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise self._unwritable(error) from None

    def close(self) -> None:
        """As of `Lines`."""
        self._file.close()

    def _unwritable(self, error: OSError | ValueError) -> BadInput:
        reason = error.strerror if isinstance(error, OSError) else "it is not a path"
        return BadInput(
            f"{self._option}: {self._path!r} cannot be written: {reason}",
            "Give a file in a folder that this user may write to.",
        )


@dataclass
class ObjectLines:
    """Lines in objects of Cloud Storage, each written once and never again.

    Each is created only if it is absent, so that of two runs that write the same parts, the second
    stops.
    """

    storage: Storage
    folder: StorageName
    _parts: list[StorageName] | None = None
    _written: int = 0

    def earlier(self) -> Iterator[bytes]:
        """As of `Lines`."""
        for part in self._earlier:
            for line in self.storage.read(part).split(b"\n"):
                if line:
                    yield line

    def append(self, data: bytes) -> None:
        """As of `Lines`; raises Refused where somebody else wrote the next part."""
        number = len(self._earlier) + self._written + 1
        self.storage.create(self.folder.child(f"part-{number:06d}.jsonl"), data)
        self._written += 1  # not before: a number that is left out would be taken for the next

    def close(self) -> None:
        """As of `Lines`."""

    @property
    def _earlier(self) -> Sequence[StorageName]:
        if self._parts is None:
            self._parts = list(self.storage.below(self.folder))
        return self._parts


def journal_lines(path: str, shard: Shard, storage: Storage) -> tuple[Lines, str]:
    """Where the journal of a part is kept, and what that is called.

    `gs://BUCKET/PATH` has a folder for each part, an existing folder a file; any other path is the
    file itself.
    """
    part = f"shard-{shard.number:05d}-of-{shard.count:05d}"
    if path.startswith("gs://"):
        folder = StorageName.parse(path, "--journal").child(part)
        return ObjectLines(storage, folder), str(folder)
    try:
        is_folder = path.endswith("/") or Path(path).is_dir()
    except ValueError:
        is_folder = False
    path = str(Path(path, f"{part}.jsonl")) if is_folder else path
    return FileLines(path, "--journal"), quoted(path)


def _whole(file: Any) -> int:
    """How many bytes of a file are whole lines."""
    end: int = file.seek(0, os.SEEK_END)
    at = end
    while at > 0:
        begin = max(at - 65536, 0)
        file.seek(begin)
        newline: int = file.read(at - begin).rfind(b"\n")
        if newline >= 0:
            return begin + newline + 1
        at = begin
    return 0
