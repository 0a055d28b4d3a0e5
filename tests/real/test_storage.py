"""The emulator's Cloud Storage beside gcp-storage-emulator of PyPI: one client, one answer."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
from google.api_core.exceptions import NotFound, PreconditionFailed
from google.auth.credentials import AnonymousCredentials
from google.cloud.storage import Client

from step.emulator import Emulator

DATA = b'{"signed": "x"}\n' * 1000


@contextmanager
def other(tool: Callable[[str], str]) -> Iterator[str]:
    """The other emulator's address, for as long as it is used."""
    program = tool("gcp-storage-emulator")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [program, "start", "--in-memory", "--host", "127.0.0.1", "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def seen(address: str, *, make: bool) -> list[Any]:
    """What the program asks of Cloud Storage, and what came back."""
    anonymous = AnonymousCredentials()  # type: ignore[no-untyped-call]
    client = Client(project="p", credentials=anonymous, client_options={"api_endpoint": address})
    try:
        bucket = client.create_bucket("bucket") if make else client.bucket("bucket")
        blob = bucket.blob("run/shard-1/part-000001.jsonl")
        answers: list[Any] = []
        blob.upload_from_string(DATA, if_generation_match=0, retry=None, checksum="crc32c")
        with nullcontext() if make else pytest.raises(PreconditionFailed):
            # The other one knows no preconditions: there, it is the same bytes again.
            blob.upload_from_string(DATA if make else b"other", if_generation_match=0, retry=None)
        bucket.blob("run/shard-2/part-000001.jsonl").upload_from_string(b"2", retry=None)
        bucket.blob("run/shard-1/ünï 2.jsonl").upload_from_string(b"", retry=None)
        answers.append(blob.download_as_bytes(retry=None, checksum="crc32c"))
        listed = client.list_blobs("bucket", prefix="run/shard-1/", retry=None)
        answers.append(sorted(each.name for each in listed))
        with pytest.raises(NotFound):
            bucket.blob("none").download_as_bytes(retry=None)
        blob.reload(retry=None)
        answers += [blob.size, blob.crc32c, blob.md5_hash]
        return answers
    finally:
        client.close()


def test_it_answers_the_client_as_it_should() -> None:
    with Emulator() as emulator:
        data, listed, size, *_ = seen(f"http://{emulator.rest_address}", make=False)
    assert (data, size) == (DATA, len(DATA))
    assert listed == ["run/shard-1/part-000001.jsonl", "run/shard-1/ünï 2.jsonl"]


def test_another_emulator_says_the_same(tool: Callable[[str], str]) -> None:
    with other(tool) as address, Emulator() as emulator:
        mine = seen(f"http://{emulator.rest_address}", make=False)
        assert mine == seen(address, make=True)
