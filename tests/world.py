"""A Google Cloud on loopback, the program run against it in the process, and a clock for both."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import grpc
import pytest
import yaml

from step.cli import main
from step.emulator import Emulator, Seed
from step.model.image import ImageRef
from step.model.keys import Algorithm
from tests.keys import KnownRsaKeys, PgpKind, make_private_key, pgp_public, public_pem

C = TypeVar("C")

RECEIPT_KEYS = [
    *("image", "digest", "attestor", "note", "occurrence", "public_key_id", "algorithm", "status"),
    *("payload", "signature", "create_time", "visible_after_seconds", "resource_uri", "build"),
    *("version", "origin"),
]
PROJECT = "my-project"
ATTESTOR = f"projects/{PROJECT}/attestors/built-by-ci"
NOTE = f"projects/{PROJECT}/notes/built-by-ci"
KEY = f"projects/{PROJECT}/locations/global/keyRings/ci/cryptoKeys/attest"
VERSION = f"{KEY}/cryptoKeyVersions/1"
DIGEST = "sha256:" + "0123456789abcdef" * 4
BUILD = f"projects/{PROJECT}/locations/europe-west1/builds/6a1c0f52-52b3-4b07-a9b9-0f6c1fbb44b7"
COMMIT = "0123456789" * 4
IMAGE = f"europe-docker.pkg.dev/{PROJECT}/apps/web@{DIGEST}"


@dataclass
class FakeClock:
    """Time that passes only when somebody sleeps."""

    passed: timedelta = timedelta(0)
    lock: threading.Lock = field(default_factory=threading.Lock)
    when_it_passes: Callable[[], None] | None = None
    """Something to happen once, at the first sleep."""

    def elapsed(self) -> timedelta:
        return self.passed

    def sleep(self, duration: timedelta) -> None:
        assert duration >= timedelta(0)
        with self.lock:
            self.passed += duration
            happen, self.when_it_passes = self.when_it_passes, None
        if happen is not None:
            happen()

    def now(self) -> datetime:
        return datetime(2026, 11, 1, tzinfo=UTC) + self.passed


@dataclass(frozen=True)
class Result:
    """What a run returned and printed."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """Standard output as the one JSON object it must be."""
        actual = json.loads(self.out)
        assert isinstance(actual, dict)
        assert list(actual) == ["receipts", "errors", "emulator"]
        assert all(each["emulator"] for each in (actual, *actual["receipts"]))
        return actual

    @property
    def receipt(self) -> dict[str, Any]:
        """The only receipt; there is no error beside it."""
        assert self.document["errors"] == []
        [receipt] = self.document["receipts"]
        assert isinstance(receipt, dict)
        return receipt

    @property
    def error(self) -> dict[str, Any]:
        """The only error; there is no receipt beside it."""
        assert self.document["receipts"] == []
        [error] = self.document["errors"]
        assert isinstance(error, dict)
        return error


def assert_clear(result: Result, code: int, says: str, fix: str) -> None:
    """The error is one line that says what, with a hint that says what to do; and so it is shown
    to the eye. `fix` may be empty, the hint not."""
    error = result.error
    assert (result.code, error["exit_code"]) == (code, code)
    assert says in error["message"]
    assert error["hint"]
    assert fix in error["hint"]
    assert "\n" not in error["message"] + error["hint"]
    shown = [line for line in result.err.splitlines() if line.startswith(("error: ", "  hint: "))]
    assert len(shown) == 2


@dataclass
class World:
    """An emulator that is started, and the way to run the program against it."""

    emulator: Emulator
    clock: FakeClock
    capture: pytest.CaptureFixture[str]

    def run(self, *arguments: str) -> Result:
        """Run the program as a user would, in this process."""
        self.capture.readouterr()
        code = main(arguments, self.clock)
        streams = self.capture.readouterr()
        assert "Traceback" not in streams.err
        return Result(code, streams.out, streams.err)

    def attest(self, *arguments: str, image: str = IMAGE, attestor: str = ATTESTOR) -> Result:
        """Attest one image for one attestor, with the receipts as JSON."""
        return self.run("attest", image, "--attestor", attestor, "--format", "json", *arguments)

    def client(self, kind: Callable[..., C]) -> C:
        """One of Google's own clients, for what the program itself does not do."""
        transport = kind.get_transport_class("grpc")  # type: ignore[attr-defined]
        channel = grpc.insecure_channel(self.emulator.grpc_address)
        return kind(transport=transport(host="localhost", channel=channel))

    def count(self, method: str) -> int:
        """How many calls of a method there were."""
        return self.emulator.calls.count(method)

    @property
    def methods(self) -> list[str]:
        """The calls so far, in order."""
        return [call.method for call in self.emulator.calls]

    @property
    def wrote(self) -> bool:
        """Whether anything was written since the start."""
        return bool(self.emulator.calls.writes())


@contextmanager
def world(
    capture: pytest.CaptureFixture[str],
    patch: pytest.MonkeyPatch,
    seed: Mapping[str, Any] | None = None,
    **settings: Any,
) -> Iterator[World]:
    """A world with one attestor that lists one KMS key, or with what the seed says."""
    clock = FakeClock()
    parsed = Seed.parse(yaml.safe_dump(dict(seed or kms_seed())), Path())
    with Emulator(parsed, now=clock.now, rsa_key=KnownRsaKeys(), **settings) as emulator:
        patch.setenv("BINAUTHZ_EMULATOR_HOST", emulator.grpc_address)
        yield World(emulator, clock, capture)


def attestor_seed(
    *public_keys: Mapping[str, Any], keys: Sequence[Mapping[str, Any]] = (), name: str = ATTESTOR
) -> dict[str, Any]:
    """A seed with one attestor that lists these public keys."""
    note = name.replace("/attestors/", "/notes/")
    attestor = {"name": name, "note": note, "public_keys": [dict(key) for key in public_keys]}
    return {"keys": [dict(key) for key in keys], "attestors": [attestor]}


def kms_seed(algorithm: str = "EC_SIGN_P256_SHA256", key_id: str | None = None) -> dict[str, Any]:
    """A seed with one attestor that lists one KMS key of that algorithm."""
    public = {"kms": VERSION} | ({"id": key_id} if key_id else {})
    return attestor_seed(public, keys=[{"name": KEY, "algorithm": algorithm}])


def pkix_seed(algorithm: Algorithm, number: int = 0) -> dict[str, Any]:
    """A seed with one attestor that lists the test's own key of that algorithm."""
    pem = public_pem(make_private_key(algorithm, number))
    return attestor_seed({"pkix": {"pem": pem, "algorithm": algorithm.name}})


def pgp_seed(kind: PgpKind, number: int = 0) -> dict[str, Any]:
    """A seed with one attestor that lists the test's own OpenPGP key of that kind."""
    return attestor_seed({"pgp": {"armored": pgp_public(kind, number)}})


def build_seed(**changes: Any) -> dict[str, Any]:
    """The usual seed, and a build that pushed the image."""
    name = IMAGE.partition("@")[0]
    build = {
        "name": BUILD,
        "id": BUILD.rpartition("/")[2],
        "projectId": PROJECT,
        "status": "SUCCESS",
        "images": [f"{name}:v1"],
        "results": {"images": [{"name": f"{name}:v1", "digest": DIGEST}]},
        "substitutions": {
            "TRIGGER_NAME": "on-main",
            "REPO_FULL_NAME": "me/app",
            "COMMIT_SHA": COMMIT,
        },
    }
    return kms_seed() | {"builds": [build | changes]}


def image(digit: str) -> ImageRef:
    """An image whose digest is that digit, 64 times."""
    return ImageRef.parse(f"europe-docker.pkg.dev/{PROJECT}/apps/web@sha256:{digit * 64}")
