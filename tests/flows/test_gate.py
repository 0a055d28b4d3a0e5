"""`gate`: it waits for a yes, and nothing but a yes starts the command."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest

from step.model.attestation import Signature
from tests.flows.notes import KEY_ID, entries, errors, public, put, signed, together
from tests.world import ATTESTOR, IMAGE, Result, World, attestor_seed, image

MakeWorld = Callable[..., World]
TESTED = "projects/my-project/attestors/tested"
TESTED_NOTE = "projects/my-project/notes/tested"
OTHER = str(image("f"))
ROOT = Path(__file__).resolve().parents[2]


class Became(BaseException):
    """Where a process would have been replaced, and nothing of this program runs on."""


@dataclass
class Programs:
    """The programs that would have been run, with their environments."""

    run: list[tuple[list[str], dict[str, str]]] = field(default_factory=list)

    def execvpe(self, file: str, command: Sequence[str], environ: Mapping[str, str]) -> None:
        assert file == command[0]
        assert signal.getsignal(signal.SIGPIPE) is signal.SIG_DFL
        self.run.append((list(command), dict(environ)))
        raise Became


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch) -> Programs:
    actual = Programs()
    monkeypatch.setattr("os.execvpe", actual.execvpe)
    return actual


@pytest.fixture
def note(make_world: MakeWorld) -> World:
    return make_world(attestor_seed(public()))


# A yes of an emulator runs a command only if it is said on the command line that it may.
REHEARSED = ("--allow-emulator",)


def gate(world: World, *arguments: str, command: Sequence[str] = ()) -> Result:
    given = ["gate", IMAGE, "--attestor", ATTESTOR, "--format", "json", *REHEARSED, *arguments]
    return world.run(*given, *(["--", *command] if command else []))


def starts(world: World, *arguments: str, command: Sequence[str] = ("start", "it")) -> None:
    with pytest.raises(Became):
        gate(world, *arguments, command=command)


def test_what_became_no_other_program_has_its_signals_back(note: World, programs: Programs) -> None:
    """Without them, a peer that hangs up ends the process: here, a worker of the tests, far on."""
    put(note, signed())
    starts(note)
    assert signal.getsignal(signal.SIGPIPE) is signal.SIG_IGN


def test_a_yes_starts_the_command_with_the_image(note: World, programs: Programs) -> None:
    put(note, signed())
    put(note, signed(image=OTHER), image=OTHER)
    starts(note, OTHER, command=["docker", "run", "--", "--attestor", "x"])
    [(command, environ)] = programs.run
    assert command == ["docker", "run", "--", "--attestor", "x"]
    assert environ["BINAUTHZ_GATED_IMAGE"] == IMAGE
    assert environ["BINAUTHZ_GATED_IMAGES"] == f"{IMAGE}\n{OTHER}"
    assert environ["PATH"] == os.environ["PATH"]
    streams = note.capture.readouterr()
    assert streams.out == "", "it is the command's"
    assert [
        verdict["verified"]
        for verdict in json.loads(streams.err[streams.err.index("{") :])["verdicts"]
    ] == [True, True]


def test_the_command_is_given_no_secret(
    note: World, programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BINAUTHZ_PGP_PRIVATE_KEY", "one")
    monkeypatch.setenv("BINAUTHZ_PGP_PRIVATE_KEY_PASSPHRASE", "two")
    monkeypatch.setenv("BINAUTHZ_ATTESTOR", ATTESTOR)
    put(note, signed())
    starts(note)
    [(_, environ)] = programs.run
    assert not [name for name in environ if "PGP" in name]
    assert environ["BINAUTHZ_ATTESTOR"] == ATTESTOR


def test_without_a_command_a_yes_is_the_exit_code(note: World, programs: Programs) -> None:
    put(note, signed())
    result = gate(note)
    assert (result.code, programs.run) == (0, [])
    assert entries(result, "verdicts")[0]["verified"]
    assert note.clock.elapsed() == timedelta(0)


def test_it_holds_until_the_second_attests(make_world: MakeWorld, programs: Programs) -> None:
    """A forged occurrence with the right key id does not open it."""
    seeds = attestor_seed(public()), attestor_seed(public(1), name=TESTED)
    world = make_world(together(*seeds))
    put(world, signed())
    second = signed(number=1)
    put(world, Signature(second.key_id, signed().value), note=TESTED_NOTE)
    result = gate(world, "--attestor", TESTED, "--timeout", "30s", command=["start"])
    assert (result.code, programs.run) == (3, [])
    assert world.clock.elapsed() == timedelta(seconds=30)
    assert [verdict["verified"] for verdict in entries(result, "verdicts")] == [True, False]

    def attest() -> None:
        put(world, second, note=TESTED_NOTE)

    world.clock.when_it_passes = attest
    starts(world, "--attestor", TESTED, "--timeout", "30s")
    assert world.clock.elapsed() == timedelta(seconds=31)


def test_it_says_what_it_waits_for_and_how_long(note: World) -> None:
    put(note, Signature(KEY_ID, b"bad"))
    result = gate(note, "--timeout", "1m30s")
    assert result.code == 3
    lines = [line for line in result.err.splitlines() if "waiting" in line]
    assert lines[0] == "waiting: no attestation verifies (1 rejected) (0s of 1m30s)"
    assert lines[1] == "waiting: no attestation verifies (1 rejected) (1s of 1m30s)"
    assert note.clock.elapsed() == timedelta(seconds=90)
    assert 10 <= len(lines) <= 20, "the pauses grow, but to ten seconds"


def test_with_several_it_says_which(note: World) -> None:
    put(note, signed())
    result = gate(note, OTHER, "--timeout", "1s")
    [line] = [line for line in result.err.splitlines() if "waiting" in line]
    assert line.startswith("web@sha256:ffffffffffff... for built-by-ci: waiting: no attestation")


def test_all_must_hold_at_the_same_time(
    note: World, programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What held a while ago may have been taken back."""
    put(note, signed())

    def swap() -> None:
        put(note, signed(image=OTHER), image=OTHER)
        note.emulator.fail("ListNoteOccurrences=TAMPER:1")

    note.clock.when_it_passes = swap
    starts(note, OTHER)
    assert note.clock.elapsed() == timedelta(seconds=2.5)


def test_a_no_in_time_is_still_asked_for_with_no_time_at_all(note: World) -> None:
    put(note, signed())
    assert gate(note, "--timeout", "0s").code == 0
    assert gate(note, OTHER, "--timeout", "0s").code == 3
    assert note.clock.elapsed() == timedelta(0)


@pytest.mark.parametrize("fault", ["GetAttestor=UNAVAILABLE", "ListNoteOccurrences=UNAVAILABLE"])
def test_a_service_that_cannot_be_asked_for_a_while(
    note: World, programs: Programs, fault: str
) -> None:
    """Longer than one call is repeated for."""
    put(note, signed())
    note.emulator.fail(fault + ":20")
    starts(note, "--timeout", "10m")
    assert note.clock.elapsed() > timedelta(minutes=1)
    assert "asking again: " in note.capture.readouterr().err


@pytest.mark.parametrize(
    ("fault", "code", "waits"),
    [
        ("GetAttestor=UNAVAILABLE", 3, True),
        ("ListNoteOccurrences=RESOURCE_EXHAUSTED", 3, True),
        ("GetAttestor=PERMISSION_DENIED", 4, False),
        ("ListNoteOccurrences=PERMISSION_DENIED", 4, False),
        ("GetAttestor=NOT_FOUND", 5, False),
        ("GetAttestor=WITHOUT_NOTE", 3, False),
        ("ListNoteOccurrences=TAMPER", 3, True),
        ("GetAttestor=NEWER_ALGORITHMS", 3, True),
    ],
)
@pytest.mark.parametrize("command", [[], ["start"]])
def test_what_was_not_answered_with_yes_starts_nothing(
    note: World, programs: Programs, fault: str, code: int, waits: bool, command: list[str]
) -> None:
    put(note, signed())
    note.emulator.fail(fault)
    result = gate(note, "--timeout", "2m", command=command)
    assert (result.code, programs.run) == (code, [])
    assert (note.clock.elapsed() >= timedelta(minutes=2)) is waits
    verdicts = entries(result, "verdicts")
    assert not any(each["verified"] for each in verdicts)
    assert bool(errors(result)) is not bool(verdicts)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["gate", IMAGE, "--", "start"], "no attestor"),
        (["gate", "--attestor", ATTESTOR, *REHEARSED, "--", "start"], "image"),
        (["gate", IMAGE, "--attestor", ATTESTOR, "--timeout", "5", "--", "start"], "duration"),
        (["gate", IMAGE, "--attestor", ATTESTOR, "--at-least", "-1", "--", "start"], "--at-least"),
        (["gate", IMAGE, "--attestor", ATTESTOR, "--"], "no command"),
        (["gate", IMAGE, "--attestor", ATTESTOR, "--", ""], "no command"),
        (["gate", IMAGE, "--attestor", ATTESTOR, "--nonsense", "--", "start"], "--nonsense"),
    ],
)
def test_bad_input_starts_nothing(
    note: World, programs: Programs, arguments: list[str], says: str
) -> None:
    put(note, signed())
    note.emulator.calls.clear()
    result = note.run(*arguments)
    assert (result.code, programs.run, note.methods) == (2, [], [])
    assert says in result.err


def test_a_bug_or_an_interrupt_starts_nothing(
    note: World, programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt() -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    def broken(*_: object) -> None:
        raise LookupError

    note.clock.when_it_passes = interrupt
    assert gate(note, command=["start"]).code == 130
    put(note, signed())
    monkeypatch.setattr("step.model.attestation.Attestor.statements", broken)
    assert gate(note, command=["start"]).code == 1
    assert programs.run == []


def test_a_result_that_cannot_be_written_starts_nothing(
    note: World, programs: Programs, tmp_path: Path
) -> None:
    put(note, signed())
    path = tmp_path / "no" / "verdicts.json"
    result = gate(note, "--output-file", str(path), command=["start"])
    assert (result.code, programs.run) == (2, [])


def test_the_file_is_there_when_the_command_starts(
    note: World, programs: Programs, tmp_path: Path
) -> None:
    path = tmp_path / "verdicts.json"
    put(note, signed())
    starts(note, "--output-file", str(path))
    assert json.loads(path.read_text())["verdicts"][0]["verified"]


@pytest.mark.parametrize("command", [["/no/such/program"], ["\0"], [str(ROOT)]])
def test_a_command_that_cannot_be_run(note: World, command: list[str]) -> None:
    before = signal.getsignal(signal.SIGPIPE)
    put(note, signed())
    result = note.run("gate", IMAGE, "--attestor", ATTESTOR, *REHEARSED, "--", *command)
    assert result.code == 2
    assert "cannot be run" in result.err
    assert signal.getsignal(signal.SIGPIPE) is before


SCRIPT = 'echo "$BINAUTHZ_GATED_IMAGE ${BINAUTHZ_PGP_PRIVATE_KEY-none} $1"; exit 7'


@pytest.mark.parametrize("attested", [True, False])
def test_a_real_command_takes_the_place_of_the_gate(note: World, attested: bool) -> None:
    """With its own arguments, output and exit code."""
    if attested:
        put(note, signed())
    environ = {**os.environ, "BINAUTHZ_EMULATOR_HOST": note.emulator.grpc_address}
    environ["BINAUTHZ_PGP_PRIVATE_KEY"] = "x"
    gate = [sys.executable, "-m", "step", "gate", IMAGE, "--attestor", ATTESTOR]
    gate += ["--timeout=0s", *REHEARSED]
    command = ["--", "sh", "-c", SCRIPT, "sh", "--timeout=1h"]
    done = subprocess.run(
        [*gate, *command], capture_output=True, text=True, env=environ, cwd=ROOT, check=False
    )
    if attested:
        assert (done.returncode, done.stdout) == (7, f"{IMAGE} none --timeout=1h\n")
        assert f"verified {IMAGE}" in done.stderr
    else:
        assert done.returncode == 3
        assert done.stdout.startswith(f"not verified {IMAGE}\n")


def test_the_help_names_the_command(note: World) -> None:
    result = note.run("gate", "--help")
    assert result.code == 0
    assert "[-- COMMAND...]" in result.out
    assert "BINAUTHZ_GATED_IMAGES" in result.out
