"""`binauthz-attest emulator`, as the process that it is."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from step.cli import main
from tests.emulator.reviews import Endpoint, image_review
from tests.world import ATTESTOR, IMAGE, KEY, VERSION

SEED = f"""
keys:
  - name: {KEY}
attestors:
  - name: {ATTESTOR}
    note: {ATTESTOR.replace("/attestors/", "/notes/")}
    public_keys:
      - kms: {VERSION}
"""


def test_a_run_against_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "seed.yaml").write_text(SEED)
    ready, calls = tmp_path / "ready.json", tmp_path / "calls.jsonl"
    command = [sys.executable, "-m", "step", "emulator", "--seed", str(tmp_path / "seed.yaml")]
    command += ["--ready-file", str(ready), "--call-log", str(calls), "--latency", "5ms"]
    command += ["--visibility-delay", "0.2s", "--fault", "AsymmetricSign=UNAVAILABLE:1"]
    command += ["--admission-port", "0", "--admission-ca-file", str(tmp_path / "ca.pem")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            line = process.stderr.readline()
            while not ready.exists():  # written right after that line
                time.sleep(0.01)
            written = json.loads(ready.read_text())
            address, rest = written["grpc"], written["rest"]
            assert line == f"BINAUTHZ_EMULATOR_HOST={address}\n"
            for api in ("BINARYAUTHORIZATION", "CLOUDBUILD", "CLOUDKMS", "CONTAINERANALYSIS"):
                override = f"CLOUDSDK_API_ENDPOINT_OVERRIDES_{api}"
                assert process.stderr.readline() == f"{override}=http://{rest}/\n"
            assert process.stderr.readline() == f"admission endpoint: {written['admission']}\n"
            with urllib.request.urlopen(f"http://{rest}/v1/{ATTESTOR}") as answer:
                assert json.load(answer)["name"] == ATTESTOR
            endpoint = Endpoint(written["admission"], tmp_path / "ca.pem")
            assert endpoint.review(image_review(IMAGE)) == {"allowed": True}
            monkeypatch.setenv("BINAUTHZ_EMULATOR_HOST", address)
            assert main(["attest", IMAGE, "--attestor", ATTESTOR]) == 0
        finally:
            process.send_signal(signal.SIGTERM)
    assert process.returncode == 0
    logged = [json.loads(line) for line in calls.read_text().splitlines()]
    signed = [call["status"] for call in logged if call["method"] == "AsymmetricSign"]
    assert signed == ["UNAVAILABLE", "OK"]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["--host", "0.0.0.0"], "loopback"),  # noqa: S104 - which is refused
        (["--seed", "missing.yaml"], "missing.yaml"),
        (["--fault", "AsymmetricSign"], "METHOD=WHAT"),
        (["--fault", "Sign=UNAVAILABLE"], "Sign"),
        (["--latency", "50"], "duration"),
        (["--port", "x"], "--port"),
        (["--rest-port", "70000"], "cannot listen"),
        (["--admission-port", "70000"], "cannot listen"),
        (["--admission-port", "0", "--admission-host", "example.com"], "not an IP address"),
        (["--admission-port", "0", "--tls-key-file", "key.pem"], "both or neither"),
        (["--tls-key-file", "key.pem"], "the admission endpoint is not served"),
        (["--tls-certificate-file", "chain.pem"], "the admission endpoint is not served"),
        (["--admission-ca-file", "ca.pem"], "the admission endpoint is not served"),
    ],
)
def test_settings_that_cannot_be_used(
    capfd: pytest.CaptureFixture[str], given: list[str], says: str
) -> None:
    assert main(["emulator", *given]) == 2
    error = capfd.readouterr().err
    assert error.startswith("error: ")
    assert says in error
    assert "\n  hint: " in error
