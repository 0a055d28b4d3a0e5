"""Standard streams that are closed or full cost what would have been written there, and no more."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from tests.runner import outputs as read_outputs
from tests.world import ATTESTOR, IMAGE, World, image

ROOT = Path(__file__).resolve().parents[2]
NAMED = ["--attestor", ATTESTOR]
OTHER = str(image("7"))
# What a shell, a daemon or a full disk leaves of the streams.
STREAMS = [
    ">&-",
    "2>&-",
    "<&-",
    "<&- >&- 2>&-",
    ">/dev/full",
    "2>/dev/full",
    ">/dev/full 2>/dev/full",
]


def shell(
    world: World, folder: Path, streams: str, *arguments: str
) -> subprocess.CompletedProcess[str]:
    """Run the program as a process of its own, with these streams."""
    words = [sys.executable, "-m", "step", *arguments]
    environ = {**os.environ, "BINAUTHZ_EMULATOR_HOST": world.emulator.grpc_address}
    environ |= {"GITHUB_OUTPUT": str(folder / "outputs"), "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        ["sh", "-c", f"{shlex.join(words)} {streams}"],
        cwd=folder,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("streams", STREAMS)
def test_an_attestation_is_made_and_told_elsewhere(
    kms_world: World, tmp_path: Path, streams: str
) -> None:
    file = ("--output-file", "receipts.json")
    done = shell(kms_world, tmp_path, streams, "attest", IMAGE, *NAMED, *file)
    assert done.returncode == 0
    actual = read_outputs((tmp_path / "outputs").read_text())
    assert actual["status"] == "created"
    document = json.loads((tmp_path / "receipts.json").read_text())
    assert [receipt["status"] for receipt in document["receipts"]] == ["created"]
    assert document["errors"] == []
    assert kms_world.count("CreateOccurrence") == 1
    assert "Traceback" not in done.stdout + done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"outputs", "receipts.json"}


@pytest.mark.parametrize("streams", STREAMS)
def test_a_yes_and_a_no_stay_so(kms_world: World, tmp_path: Path, streams: str) -> None:
    kms_world.attest()
    assert shell(kms_world, tmp_path, streams, "verify", IMAGE, *NAMED).returncode == 0
    assert shell(kms_world, tmp_path, streams, "verify", OTHER, *NAMED).returncode == 3
    gate = ("gate", IMAGE, *NAMED, "--allow-emulator", "--", "touch", "opened")
    assert shell(kms_world, tmp_path, streams, *gate).returncode == 0
    assert (tmp_path / "opened").exists()


@pytest.mark.parametrize("streams", [">&-", ">/dev/full"])
@pytest.mark.parametrize(
    "arguments", [["payload", IMAGE], ["policy", "show", "--project", "my-project"]]
)
def test_where_printing_is_the_work_it_is_not_done(
    kms_world: World, tmp_path: Path, streams: str, arguments: list[str]
) -> None:
    done = shell(kms_world, tmp_path, streams, *arguments)
    if streams == ">&-":  # nobody wants to see it
        assert done.returncode == 0
    else:
        assert done.returncode == 2
        assert "error: standard output cannot be written: No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_file_is_never_taken_for_a_stream(kms_world: World, tmp_path: Path) -> None:
    """With its number free, the next file that is opened would be standard error."""
    done = shell(kms_world, tmp_path, "<&- >&- 2>&-", "attest", IMAGE, *NAMED)
    assert done.returncode == 0
    text = (tmp_path / "outputs").read_text()
    assert read_outputs(text)["status"] == "created"
    assert "warning" not in text


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_who_is_told_to_end_tells_what_was_done(
    make_world: Callable[..., World], number: signal.Signals
) -> None:
    world = make_world(visibility_delay=timedelta(minutes=10))
    world.clock.when_it_passes = lambda: os.kill(os.getpid(), number)
    result = world.attest("--timeout", "1h")
    assert result.code == 130
    assert result.document["errors"][0]["message"] == "interrupted"


def test_under_nohup_a_terminal_that_goes_ends_nothing(make_world: Callable[..., World]) -> None:
    world = make_world(visibility_delay=timedelta(seconds=3))
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        world.clock.when_it_passes = lambda: os.kill(os.getpid(), signal.SIGHUP)
        assert world.attest().receipt["status"] == "created"
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
