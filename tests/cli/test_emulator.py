"""`binauthz-attest emulator`, as the process that it is."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from step.cli import main
from step.cli.emulator import environment_for
from step.emulator import Emulator, Seed
from tests.reviews import Endpoint, image_review
from tests.world import ATTESTOR, IMAGE, KEY, VERSION

ROOT = Path(__file__).resolve().parents[2]
APIS = ("BINARYAUTHORIZATION", "CLOUDBUILD", "CLOUDKMS", "CONTAINERANALYSIS")
SEED = f"""
keys:
  - name: {KEY}
attestors:
  - name: {ATTESTOR}
    note: {ATTESTOR.replace("/attestors/", "/notes/")}
    public_keys:
      - kms: {VERSION}
"""


PROGRAM = (sys.executable, "-m", "step")
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
# Ends with the number of the first signal that it gets.
WAITS = f"""
import signal
ends = {[int(each) for each in SIGNALS]}
signal.pthread_sigmask(signal.SIG_BLOCK, ends)
print("started", flush=True)
raise SystemExit(int(signal.sigwait(ends)))
"""
# Ends, at the end of a line, with how often it was interrupted. It looks at both at once: where the
# signal comes right before a line is waited for, a handler in Python runs only after the line.
COUNTS = """
import os, select, signal
noticed, notice = os.pipe()
os.set_blocking(notice, False)
signal.set_wakeup_fd(notice)
signal.signal(signal.SIGINT, lambda *_: None)
os.write(1, b"started\\n")
times = 0
while True:
    ready, _, _ = select.select([0, noticed], [], [])
    if noticed in ready:
        times += len(os.read(noticed, 100))
        os.write(1, b"interrupted\\n")
    if 0 in ready:
        raise SystemExit(times)
"""
# Becomes another program that ignores no signal, whatever the run of the tests has inherited from a
# nohup; in a session of its own, at the terminal that is its input, if it is one.
STARTS = f"""
import os, signal, sys
for one in {[int(each) for each in SIGNALS]}:
    signal.signal(one, signal.SIG_DFL)
os.login_tty(0) if os.isatty(0) else os.setsid()
os.execv(sys.argv[1], sys.argv[1:])
"""
STARTED = (sys.executable, "-c", STARTS, *PROGRAM, "emulator", "--")


@pytest.fixture
def seed(tmp_path: Path) -> str:
    path = tmp_path / "seed.yaml"
    path.write_text(SEED)
    return str(path)


def run(*arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    """Run an emulator to its end."""
    command = [*PROGRAM, "emulator", *arguments]
    return subprocess.run(command, input=given, capture_output=True, text=True, check=False)


@contextmanager
def started(command: Sequence[str], **streams: Any) -> Iterator[subprocess.Popen[str]]:
    """A process that a test which fails, or takes too long, does not wait for."""
    with subprocess.Popen(command, text=True, **streams) as process:
        try:
            yield process
        except BaseException:
            process.kill()
            raise


def test_a_run_against_the_process(
    seed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready, calls = tmp_path / "ready.json", tmp_path / "calls.jsonl"
    command = [*PROGRAM, "emulator", "--seed", seed]
    command += ["--ready-file", str(ready), "--call-log", str(calls), "--latency", "5ms"]
    command += ["--visibility-delay", "0.2s", "--fault", "AsymmetricSign=UNAVAILABLE:1"]
    command += ["--admission-port", "0", "--admission-ca-file", str(tmp_path / "ca.pem")]
    with started(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            while not ready.exists():  # written right after the variables
                time.sleep(0.01)
            written = json.loads(ready.read_text())
            address, rest = written["grpc"], written["rest"]
            assert line == f"BINAUTHZ_EMULATOR_HOST={address}\n"
            with urllib.request.urlopen(f"http://{rest}/v1/{ATTESTOR}") as answer:
                assert json.load(answer)["name"] == ATTESTOR
            endpoint = Endpoint(written["admission"], tmp_path / "ca.pem")
            assert endpoint.review(image_review(IMAGE)) == {"allowed": True}
            monkeypatch.setenv("BINAUTHZ_EMULATOR_HOST", address)
            assert main(["attest", IMAGE, "--attestor", ATTESTOR]) == 0
        finally:
            process.send_signal(signal.SIGTERM)
        rest_of_output = process.stdout.read()
    assert process.returncode == 0
    assert f"BINAUTHZ_EMULATOR_ADMISSION_URL={written['admission']}\n" in rest_of_output
    logged = [json.loads(line) for line in calls.read_text().splitlines()]
    signed = [call["status"] for call in logged if call["method"] == "AsymmetricSign"]
    assert signed == ["UNAVAILABLE", "OK"]


def test_a_shell_sources_what_is_printed(seed: str, tmp_path: Path) -> None:
    """Nothing else is printed, and all is there with the ready file, as the page has it."""
    page = (ROOT / "docs" / "emulator.md").read_text()
    [script] = re.findall(r"^```sh\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert script.startswith("binauthz-attest emulator ")
    program = shlex.join(PROGRAM)
    script = script.replace("binauthz-attest", program) + f"{program} attest {IMAGE} --attestor "
    script += f"{ATTESTOR} && cat emulator.env && env -0; code=$?; kill $!; wait $!; exit $code"
    # A value that a shell would take apart.
    environ = os.environ | {"http_proxy": "http://127.0.0.1:9", "no_proxy": "a.example b.example"}
    environ.pop("NO_PROXY", None)
    environ["PYTHONPATH"] = str(ROOT)
    done = subprocess.run(
        ["sh", "-c", script], cwd=tmp_path, env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    attested, _, shown = done.stdout.partition("BINAUTHZ_EMULATOR_HOST=")
    assert attested.startswith(f"created {IMAGE}\n")
    lines, _, variables = f"BINAUTHZ_EMULATOR_HOST={shown}".rpartition("\n")
    names = [line.partition("=")[0] for line in lines.splitlines()]
    assert names == [
        "BINAUTHZ_EMULATOR_HOST",
        *(f"CLOUDSDK_API_ENDPOINT_OVERRIDES_{api}" for api in APIS),
        *(
            "STORAGE_EMULATOR_HOST",
            "CLOUDSDK_AUTH_DISABLE_CREDENTIALS",
            "CLOUDSDK_CORE_PROJECT",
            "no_proxy",
            "NO_PROXY",
        ),
    ]
    environment = f"{lines.splitlines()[-1]}\0{variables}".split("\0")
    assert "no_proxy=a.example b.example,127.0.0.1" in environment
    assert "CLOUDSDK_CORE_PROJECT=my-project" in environment


def test_a_command_has_the_emulator_and_its_own_streams(seed: str, tmp_path: Path) -> None:
    ready, calls = tmp_path / "ready.json", tmp_path / "calls.jsonl"
    files = ("--ready-file", str(ready), "--call-log", str(calls))
    script = f'{shlex.join(PROGRAM)} attest {IMAGE} --attestor "$1" >&2 && cat - "$2"; exit 7'
    done = run(
        "--seed", seed, *files, "--", "sh", "-c", script, "-", ATTESTOR, str(ready), given="in\n"
    )
    assert done.returncode == 7
    assert done.stdout == f"in\n{ready.read_text()}"
    host = json.loads(ready.read_text())["grpc"]
    assert done.stderr.startswith(f"warning: everything goes to the emulator at {host}, ")
    assert f"created {IMAGE}" in done.stderr
    assert '"CreateOccurrence"' in calls.read_text()


def test_a_command_has_the_files_that_a_shell_opened_for_it_and_none_of_the_emulators(
    tmp_path: Path,
) -> None:
    command = [sys.executable, "-c", "import os; print(sorted(os.listdir('/dev/fd')))"]
    emulator = [*PROGRAM, "emulator", "--call-log", str(tmp_path / "calls"), "--"]
    with Path(__file__).open() as opened:
        alone, below = (
            subprocess.check_output([*before, *command], pass_fds=[opened.fileno()])
            for before in ((), emulator)
        )
        assert f"'{opened.fileno()}'".encode() in below
    assert below == alone


def test_a_command_that_is_killed() -> None:
    done = run("--", "sh", "-c", "kill -KILL $$")
    assert (done.returncode, done.stdout, done.stderr) == (128 + signal.SIGKILL, "", "")


@pytest.mark.parametrize("command", ["no-such-program", str(Path(__file__))])
def test_a_command_that_cannot_be_run(command: str) -> None:
    done = run("--", command)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: the command {command!r} cannot be run: ")
    assert "\n  hint: " in done.stderr


def test_a_command_does_not_start_on_a_bad_seed(tmp_path: Path) -> None:
    started = tmp_path / "started"
    assert main(["emulator", "--seed", "missing.yaml", "--", "touch", str(started)]) == 2
    assert not started.exists()


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_is_the_commands_and_its_end_is_awaited(number: signal.Signals) -> None:
    command = [*STARTED, sys.executable, "-c", WAITS]
    with started(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        process.send_signal(number)
        assert process.stdout.read() == ""  # nobody holds it any longer
    assert process.returncode == number


def test_what_is_ignored_stays_ignored() -> None:
    """As nohup has it: the hangup ends neither the emulator nor the command."""
    script = (
        f"trap '' HUP; exec {shlex.join(PROGRAM)} emulator -- sh -c 'kill -HUP $PPID $$; exit 7'"
    )
    assert subprocess.run(["sh", "-c", script], check=False).returncode == 7


def test_a_signal_that_the_command_does_not_handle_ends_both() -> None:
    command = [*STARTED, "sh", "-c", "echo started; exec sleep 600"]
    with started(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        process.terminate()
        assert process.stdout.read() == ""
    assert process.returncode == 128 + signal.SIGTERM


def test_ctrl_c_reaches_the_command_once_and_the_emulator_stays_for_it() -> None:
    keyboard, terminal = os.openpty()
    with (
        open(keyboard, "r+b", buffering=0) as screen,  # noqa: PTH123 - a descriptor
        started([*STARTED, sys.executable, "-c", COUNTS], stdin=terminal) as process,
    ):
        os.close(terminal)

        def read_until(word: bytes) -> None:
            shown = b""
            while word not in shown:
                shown += screen.read(1000)

        read_until(b"started")
        screen.write(b"\x03")
        read_until(b"interrupted")
        screen.write(b"\n")
        assert process.wait() == 1


@pytest.mark.parametrize(
    ("seed_of", "environ", "variables"),
    [
        (["p"], {}, {"CLOUDSDK_CORE_PROJECT": "p"}),
        (["p"], {"CLOUDSDK_CORE_PROJECT": "mine"}, {}),
        (["p", "q"], {}, {}),
        ([], {}, {}),
        ([], {"no_proxy": "a.example"}, {}),
        ([], {"HTTP_PROXY": ""}, {}),
        ([], {"HTTP_PROXY": "http://p"}, {"no_proxy": "127.0.0.1", "NO_PROXY": "127.0.0.1"}),
        (
            [],
            {"https_proxy": "http://p", "NO_PROXY": "a.example"},
            {"no_proxy": "a.example,127.0.0.1", "NO_PROXY": "a.example,127.0.0.1"},
        ),
        (
            [],
            {"all_proxy": "http://p", "no_proxy": "a", "NO_PROXY": "b"},
            {"no_proxy": "a,127.0.0.1", "NO_PROXY": "b,127.0.0.1"},
        ),
        ([], {"http_proxy": "http://p", "no_proxy": "*"}, {"no_proxy": "*", "NO_PROXY": "*"}),
    ],
)
def test_variables_that_depend_on_the_seed_and_the_environment(
    seed_of: list[str], environ: dict[str, str], variables: dict[str, str]
) -> None:
    seed = Seed(projects=dict.fromkeys(seed_of, 1))
    with Emulator(seed) as emulator:
        actual = environment_for(emulator, seed, environ)
        rest = f"http://{emulator.rest_address}/"
        always = {f"CLOUDSDK_API_ENDPOINT_OVERRIDES_{api}": rest for api in APIS}
        always["BINAUTHZ_EMULATOR_HOST"] = emulator.grpc_address
        always["STORAGE_EMULATOR_HOST"] = f"http://{emulator.rest_address}"
    assert actual == always | {"CLOUDSDK_AUTH_DISABLE_CREDENTIALS": "true"} | variables


def test_the_help_names_the_command(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["emulator", "--help"]) == 0
    shown = capfd.readouterr().out
    assert "emulator [OPTIONS] [-- COMMAND...]" in shown
    assert "  binauthz-attest emulator --seed seed.yaml -- " in shown


def test_an_output_that_is_full() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*PROGRAM, "emulator"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 2
    assert done.stderr.startswith("error: standard output cannot be written: ")


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["--host", "0.0.0.0"], "loopback"),  # noqa: S104 - which is refused
        (["--seed", "missing.yaml"], "missing.yaml"),
        (["--fault", "AsymmetricSign"], "METHOD=WHAT"),
        (["--fault", "Sign=UNAVAILABLE"], "Sign"),
        (["--latency", "50"], "duration"),
        (["--port", "x"], "--port"),
        (["--port", "x", "--", "docker", "ps", "--format", "json"], "--port"),
        (["--rest-port", "70000"], "cannot listen"),
        (["--admission-port", "70000"], "cannot listen"),
        (["--admission-port", "0", "--admission-host", "example.com"], "not an IP address"),
        (["--admission-port", "0", "--tls-key-file", "key.pem"], "both or neither"),
        (["--tls-key-file", "key.pem"], "the admission endpoint is not served"),
        (["--tls-certificate-file", "chain.pem"], "the admission endpoint is not served"),
        (["--admission-ca-file", "ca.pem"], "the admission endpoint is not served"),
        (["--"], "no command follows --"),
        (["--", ""], "no command follows --"),
    ],
)
def test_settings_that_cannot_be_used(
    capfd: pytest.CaptureFixture[str], given: list[str], says: str
) -> None:
    assert main(["emulator", *given]) == 2
    shown = capfd.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("error: ")
    assert says in shown.err
    assert "\n  hint: " in shown.err
