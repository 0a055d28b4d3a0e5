"""What came with the sources: the files that git tracks, and what is older than the checkout."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

# https://git-scm.com/docs/index-format
_SIGNATURE = b"DIRC"
_HEADER = 12
_FIXED = 40
"""Of an entry: its times, mode and size, before the object's name and the flags."""
_MODE = 24
_SUBMODULE = 0o160000
_EXTENDED = 0x4000
_INDEX_LIMIT = 256 << 20
_LINK = re.compile(r"gitdir: (.+)")
_SHA256 = re.compile(r"^\s*objectformat\s*=\s*sha256\s*$", re.MULTILINE | re.IGNORECASE)


@dataclass(slots=True)
class Checkout:
    """The checkouts that a file may be of, and when the run began, where that is known."""

    began: datetime | None = None
    _indexes: dict[Path, frozenset[bytes] | None] = field(default_factory=dict)

    def origin_of(self, path: Path) -> str | None:
        """Why a file may have come with the sources, in words that follow its name; else None.

        It is tracked by git in any repository around it; git's own files cannot be read; or it is
        older than a checkout or the run. Its times are the older of when it was written, as it
        says, and when it came here, which only the machine can say. Raises OSError.
        """
        status = path.stat()
        made = datetime.fromtimestamp(min(status.st_mtime, status.st_ctime), UTC)
        # A link that is tracked says which file is meant, as well as the file itself could.
        for file in dict.fromkeys((path, path.resolve())):
            for root, folder in _repositories(file):
                tracked = self._tracked(folder)
                if tracked is None:
                    return "may be tracked by git, whose index cannot be read"
                if _is_tracked(file.relative_to(root), tracked):
                    return "is tracked by git, so that it came with the sources"
                if any(made < at for at in _checked_out(folder)):
                    return "is older than the checkout"
        if self.began is not None and made < self.began:
            return "is older than the run"
        return None

    def _tracked(self, folder: Path) -> frozenset[bytes] | None:
        if folder not in self._indexes:
            try:
                self._indexes[folder] = frozenset(read_index(folder))
            except (OSError, ValueError, IndexError) as error:
                # Without an index nothing was ever added; without HEAD, this is not git's folder,
                # but where it would be: a link can lead out of what is mounted here.
                unborn = isinstance(error, FileNotFoundError) and (folder / "HEAD").is_file()
                self._indexes[folder] = frozenset() if unborn else None
        return self._indexes[folder]


def has_repository(folder: Path) -> bool:
    """Whether a folder is in a checkout of git's."""
    return any(_repositories(folder.resolve() / "file"))


def _repositories(path: Path) -> Iterator[tuple[Path, Path]]:
    """Each checkout around a file, the innermost first: its folder, and where git keeps its own."""
    for root in path.parents:
        own = root / ".git"
        if own.is_dir():
            yield root, own
        elif own.is_file():  # of a submodule or another working tree
            text = ""
            with suppress(OSError), own.open("rb") as file:
                text = file.read(4096).decode("utf-8", "surrogateescape").strip()
            match = _LINK.fullmatch(text)
            yield root, (root / match[1]) if match else own


def _checked_out(folder: Path) -> Iterator[datetime]:
    """When HEAD was last moved."""
    for name in ("HEAD", "logs/HEAD"):
        with suppress(OSError):
            yield datetime.fromtimestamp((folder / name).stat().st_mtime, UTC)


def _is_tracked(path: Path, tracked: frozenset[bytes]) -> bool:
    """Whether a path is in the index, or below a link or a sparse folder that is."""
    names = [str(each).encode("utf-8", "surrogateescape") for each in (path, *path.parents)]
    return any(name in tracked or name + b"/" in tracked for name in names)


def read_index(folder: Path) -> Iterator[bytes]:
    """The files in an index of version 2, 3 or 4; ValueError or IndexError for any other."""
    with (folder / "index").open("rb") as file:
        data = file.read(_INDEX_LIMIT + 1)
    if data[:4] != _SIGNATURE or len(data) > _INDEX_LIMIT:
        raise ValueError("not an index that is read")
    version, count = int.from_bytes(data[4:8]), int.from_bytes(data[8:12])
    if version not in (2, 3, 4):
        raise ValueError("an index of another version")
    name_size = 32 if _uses_sha256(folder) else 20
    at, name = _HEADER, b""
    for _ in range(count):
        start = at
        at += _FIXED + name_size
        flags = int.from_bytes(data[at : at + 2])
        at += 4 if version > 2 and flags & _EXTENDED else 2
        dropped = 0
        if version == 4:
            dropped, at = _number(data, at)
        end = data.index(b"\0", at)
        name = name[: len(name) - dropped] + data[at:end] if version == 4 else data[at:end]
        at = end + 1 if version == 4 else start + (end - start + 8) // 8 * 8
        if int.from_bytes(data[start + _MODE : start + _MODE + 4]) != _SUBMODULE:
            yield name  # what is in a submodule, that one's own index says
    if _is_split(data, at, name_size):
        raise ValueError("the rest of the index is in another file")


def _is_split(data: bytes, at: int, checksum: int) -> bool:
    """Whether an extension says that most entries are elsewhere."""
    while at + 8 <= len(data) - checksum:
        if data[at : at + 4] == b"link":
            return True
        at += 8 + int.from_bytes(data[at + 4 : at + 8])
    return False


def _number(data: bytes, at: int) -> tuple[int, int]:
    """An offset as pack files have it (https://git-scm.com/docs/pack-format), and its end."""
    value = data[at] & 0x7F
    while data[at] & 0x80:
        at += 1
        value = (value + 1 << 7) | data[at] & 0x7F
    return value, at + 1


def _uses_sha256(folder: Path) -> bool:
    """Whether objects have longer names, by the configuration that several trees may share."""
    config = folder
    with suppress(OSError):
        config = folder / (folder / "commondir").read_text().strip()
    with suppress(OSError, UnicodeDecodeError):
        return _SHA256.search((config / "config").read_text("utf-8")) is not None
    return False
