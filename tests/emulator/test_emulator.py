"""The emulator as a whole: address, log, ready file, latency, many callers at once."""

import ast
import dataclasses
import json
import logging
import os
import socket
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import grpc
import pytest
from google.api_core.exceptions import AlreadyExists, InternalServerError, InvalidArgument, NotFound
from google.cloud import binaryauthorization_v1 as ba
from google.cloud.devtools import cloudbuild_v1 as cloudbuild
from grafeas import grafeas_v1 as g

import step.emulator
from step.emulator import Emulator, EmulatorError, Seed
from tests.emulator.world import ATTESTOR, NOTE, PROJECT, SEED, Clients, FakeClock

ANYWHERE = "0.0.0.0"  # noqa: S104 - what must be refused


@pytest.mark.parametrize("host", [ANYWHERE, "::", "192.0.2.1", "example.com", "", "127.0.0.1:80"])
def test_only_loopback_is_bound(host: str) -> None:
    with pytest.raises(EmulatorError, match="is not a loopback address"):
        Emulator(host=host).start()


@pytest.mark.parametrize("host", ["localhost", "127.0.0.2"])
def test_loopback_by_other_names(host: str) -> None:
    with Emulator(host=host) as emulator:
        name, _, port = emulator.grpc_address.rpartition(":")
        assert name == ("127.0.0.1" if host == "localhost" else host)
        socket.create_connection((name, int(port)), timeout=5).close()


def test_loopback_of_ipv6() -> None:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    with Emulator(host="::1") as emulator:
        assert emulator.grpc_address.startswith("[::1]:")
        clients = Clients.of(emulator)
        assert list(clients.grafeas.list_notes(parent=PROJECT)) == []
        clients.channel.close()


def test_a_taken_port_is_refused(emulator: Emulator) -> None:
    port = int(emulator.grpc_address.rpartition(":")[2])
    with pytest.raises(EmulatorError, match=f"cannot listen on 127.0.0.1:{port}"):
        Emulator(port=port).start()
    rest_port = int(emulator.rest_address.rpartition(":")[2])
    with pytest.raises(EmulatorError, match=f"cannot listen on 127.0.0.1:{rest_port}"):
        Emulator(rest_port=rest_port).start()


def test_it_is_started_once_and_has_an_address_while_started() -> None:
    emulator = Emulator(Seed.parse(SEED))
    with pytest.raises(EmulatorError, match="not started"):
        _ = emulator.grpc_address
    with pytest.raises(EmulatorError, match="not started"):
        _ = emulator.rest_address
    with emulator, pytest.raises(EmulatorError, match="already started"):
        emulator.start()
    emulator.stop()
    with emulator:
        clients = Clients.of(emulator)
        assert clients.binauthz.get_attestor(name=ATTESTOR).name == ATTESTOR
        clients.channel.close()
    assert emulator.calls.count("GetAttestor") == 1


def test_the_ready_file_appears_whole(emulator: Emulator, tmp_path: Path) -> None:
    path = tmp_path / "ready.json"
    emulator.write_ready_file(path)
    assert json.loads(path.read_text()) == {
        "grpc": emulator.grpc_address,
        "rest": emulator.rest_address,
        "pid": os.getpid(),
    }
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(EmulatorError, match="cannot write the ready file"):
        emulator.write_ready_file(tmp_path / "missing" / "ready.json")


def test_latency_is_slept_before_each_call() -> None:
    slept: list[float] = []
    with Emulator(latency=timedelta(milliseconds=50), sleep=slept.append) as emulator:
        clients = Clients.of(emulator)
        for _ in range(2):
            clients.binauthz.get_policy(name=f"{PROJECT}/policy")
        clients.channel.close()
    assert slept == [0.05, 0.05]


def test_calls_are_logged_in_order_and_to_the_file(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    with Emulator(Seed.parse(SEED), call_log=path) as emulator:
        clients = Clients.of(emulator)
        made = clients.create(clients.attestation())
        with pytest.raises(NotFound):
            clients.grafeas.get_note(name=f"{PROJECT}/notes/x")
        # Each line is there as soon as the answer is.
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        clients.channel.close()
    assert [dataclasses.asdict(call) for call in emulator.calls] == lines
    assert [(c.number, c.method, c.status, c.wrote) for c in emulator.calls] == [
        (1, "AsymmetricSign", "OK", False),
        (2, "CreateOccurrence", "OK", True),
        (3, "GetNote", "NOT_FOUND", False),
    ]
    assert lines[1]["path"] == "/grafeas.v1.Grafeas/CreateOccurrence"
    assert lines[2]["resource"] == f"{PROJECT}/notes/x"
    assert all(line["milliseconds"] >= 0 for line in lines)
    assert made.attestation.signatures[0].signature.hex() not in path.read_text()
    assert len(emulator.calls) == 3
    emulator.calls.clear()
    assert list(emulator.calls) == []
    with emulator:
        clients = Clients.of(emulator)
        clients.grafeas.get_note(name=NOTE)
        clients.channel.close()
    assert [call.number for call in emulator.calls] == [4]
    assert len(path.read_text().splitlines()) == 4


def test_a_call_log_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EmulatorError, match="cannot write the call log"):
        Emulator(call_log=tmp_path / "missing" / "calls.jsonl").start()


def test_the_log_is_closed_when_the_address_is_refused(tmp_path: Path) -> None:
    # An open file would be a ResourceWarning, which fails the test run.
    with pytest.raises(EmulatorError, match="loopback"):
        Emulator(call_log=tmp_path / "calls.jsonl", host=ANYWHERE).start()


def test_a_bug_is_a_bare_internal_error_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    def broken(_: float) -> None:
        raise ZeroDivisionError("secret detail")

    with Emulator(latency=timedelta(seconds=1), sleep=broken) as emulator:
        clients = Clients.of(emulator)
        with (
            caplog.at_level(logging.ERROR),
            pytest.raises(InternalServerError, match="Internal error encountered") as refused,
        ):
            clients.binauthz.get_policy(name=f"{PROJECT}/policy")
        clients.channel.close()
    assert "secret detail" not in str(refused.value)
    assert "secret detail" in caplog.text
    assert emulator.calls.count("GetPolicy", "INTERNAL") == 1


def test_methods_that_are_not_there_are_unimplemented(clients: Clients) -> None:
    call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = clients.channel.unary_unary(
        "/grafeas.v1.Grafeas/Nothing", request_serializer=bytes, response_deserializer=bytes
    )
    with pytest.raises(grpc.RpcError) as refused:
        call(b"")
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_any_project_is_there_without_being_declared(clients: Clients) -> None:
    clients.grafeas.create_note(
        parent="projects/undeclared",
        note_id="n",
        note=g.Note(attestation={"hint": {"human_readable_name": "n"}}),
    )
    attestor = clients.binauthz.create_attestor(
        parent="projects/undeclared",
        attestor_id="a",
        attestor=ba.Attestor(
            user_owned_grafeas_note={"note_reference": "projects/undeclared/notes/n"}
        ),
    )
    assert attestor.user_owned_grafeas_note.delegation_service_account_email


def test_of_many_equal_creations_one_is_made(clients: Clients, clock: FakeClock) -> None:
    made = clients.attestation()

    def create(_: int) -> str:
        try:
            return clients.create(made).name
        except AlreadyExists:
            return "AlreadyExists"

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(create, range(40)))
    assert results.count("AlreadyExists") == 39
    clock.advance(timedelta(seconds=3))
    assert clients.listed() == [name for name in results if name != "AlreadyExists"]


def test_many_callers_at_once_sign_and_create(
    clients: Clients, clock: FakeClock, emulator: Emulator
) -> None:
    def attest(number: int) -> str:
        digest = f"sha256:{number:064x}"
        made = clients.attestation(digest)
        assert clients.validate(made, uri=f"https://x/y@{digest}").result.name == "VERIFIED"
        return clients.create(made, uri=f"https://x/y@{digest}").name

    with ThreadPoolExecutor(8) as pool:
        names = set(pool.map(attest, range(40)))
    clock.advance(timedelta(seconds=3))
    assert set(clients.listed()) == names
    assert len(names) == 40
    assert sorted(call.number for call in emulator.calls) == list(range(1, 123))


# Cloud Build

BUILDS = "\n".join(
    f"  - {{id: b{number}, projectId: p, status: {status}, buildTriggerId: t{number}}}"
    for number, status in enumerate(["SUCCESS", "FAILURE", "SUCCESS"])
)


def test_builds_are_read_by_either_name_and_listed(clock: FakeClock) -> None:
    regional = "  - {name: projects/p/locations/europe-west3/builds/r, status: SUCCESS}"
    seed = Seed.parse(f"builds:\n{BUILDS}\n{regional}\n")
    with Emulator(seed, now=clock.now) as emulator:
        clients = Clients.of(emulator)
        by_id = clients.builds.get_build(project_id="p", id="b0")
        by_name = clients.builds.get_build(
            cloudbuild.GetBuildRequest(name="projects/p/locations/global/builds/b0")
        )
        assert by_id == by_name
        assert by_id.create_time == clock.now()
        region = clients.builds.get_build(
            cloudbuild.GetBuildRequest(name="projects/p/locations/europe-west3/builds/r")
        )
        assert (region.project_id, region.id) == ("p", "r")
        for missing in ({"project_id": "p", "id": "r"}, {"project_id": "x", "id": "b0"}):
            with pytest.raises(NotFound, match="not found"):
                clients.builds.get_build(cloudbuild.GetBuildRequest(missing))
        with pytest.raises(InvalidArgument):
            clients.builds.get_build(cloudbuild.GetBuildRequest(name="b0"))
        listed = clients.builds.list_builds(
            cloudbuild.ListBuildsRequest(project_id="p", page_size=2)
        )
        assert [[build.id for build in page.builds] for page in listed.pages] == [
            ["b0", "b1"],
            ["b2"],
        ]
        request = cloudbuild.ListBuildsRequest(
            parent="projects/p/locations/global", filter='status="SUCCESS" build_trigger_id="t2"'
        )
        assert [build.id for build in clients.builds.list_builds(request)] == ["b2"]
        assert {call.resource for call in emulator.calls if call.method == "GetBuild"} == {
            "projects/p/builds/b0",
            "projects/p/locations/global/builds/b0",
            "projects/p/locations/europe-west3/builds/r",
            "projects/p/builds/r",
            "projects/x/builds/b0",
            "b0",
        }
        clients.channel.close()


def test_the_emulator_stands_alone() -> None:
    folder = Path(step.emulator.__file__).parent
    for path in folder.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0
                names = [node.module or ""]
            for name in names:
                assert not name.startswith("step") or name.startswith("step.emulator"), path
