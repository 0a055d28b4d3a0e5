"""Reading builds through the real client library, from the emulator and from odder servers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent import futures
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import grpc
import pytest
import yaml
from google.cloud.devtools import cloudbuild_v1 as api

from step.cloud.builds import Builds
from step.cloud.connection import Connection
from step.emulator import Emulator, Seed
from step.errors import NotAllowed, NotFound, Unavailable
from step.model.build import Build, BuildName, BuiltImage
from tests.world import FakeClock

ID = "c5f03cc3-1b9d-4a3c-8a53-6f5e0a3b2c1d"
REGIONAL = BuildName("my-project", "europe-west1", ID)
GLOBAL = BuildName("my-project", "global", ID)
IMAGE = "europe-west1-docker.pkg.dev/my-project/apps/web:1"
DIGEST = "sha256:" + "a" * 64
SHA = "4f2c9b1d0e8a7c6b5a49382716f5e4d3c2b1a098"

SEEDED: dict[str, Any] = {
    "status": "SUCCESS",
    "images": [IMAGE],
    "results": {"images": [{"name": IMAGE, "digest": DIGEST}], "buildStepOutputs": ["e30="]},
    "sourceProvenance": {
        "resolvedGitSource": {"url": "https://github.com/me/app", "revision": SHA}
    },
    "substitutions": {"TRIGGER_NAME": "push-to-main"},
    "startTime": "2026-11-01T09:00:05.5Z",
    "finishTime": "2026-11-01T09:03:20Z",
    "steps": [{"name": "gcr.io/cloud-builders/docker", "args": ["build"]}],
}


@contextmanager
def seeded(*builds: Mapping[str, Any]) -> Iterator[tuple[Emulator, FakeClock, Builds]]:
    clock = FakeClock()
    seed = Seed.parse(yaml.safe_dump({"builds": [dict(build) for build in builds]}))
    with Emulator(seed, now=clock.now) as emulator:
        yield emulator, clock, Builds(Connection(clock, {}, emulator.grpc_address))


@pytest.mark.parametrize("name", [REGIONAL, GLOBAL], ids=lambda name: name.location)
def test_a_build_is_read_wherever_it_is(name: BuildName) -> None:
    other = GLOBAL if name == REGIONAL else REGIONAL
    decoy = {"name": str(other), "status": "FAILURE"}
    with seeded({"name": str(name)} | SEEDED, decoy) as (_, _, builds):
        assert builds.get(name) == Build(
            name,
            "SUCCESS",
            (BuiltImage(IMAGE, DIGEST),),
            (IMAGE,),
            trigger="push-to-main",
            repository="https://github.com/me/app",
            commit=SHA,
            started=datetime(2026, 11, 1, 9, 0, 5, 500_000, UTC),
            finished=datetime(2026, 11, 1, 9, 3, 20, tzinfo=UTC),
            resolved=("https://github.com/me/app",),
        )


@pytest.mark.parametrize("status", list(api.Build.Status.__members__))
def test_every_status_is_told_by_its_name(status: str) -> None:
    with seeded({"name": str(REGIONAL), "status": status}) as (_, _, builds):
        assert builds.get(REGIONAL) == Build(REGIONAL, status)


def test_a_status_newer_than_this_program_is_a_number_and_no_warning() -> None:
    """Warnings are errors in these tests."""
    with seeded({"name": str(REGIONAL), "status": 99}) as (_, _, builds):
        assert builds.get(REGIONAL).status == "99"


def test_a_build_of_another_region_does_not_exist_and_the_hint_says_so() -> None:
    with seeded({"name": str(REGIONAL)}) as (_, _, builds):
        with pytest.raises(NotFound, match=str(GLOBAL)) as caught:
            builds.get(GLOBAL)
        assert "locations/REGION" in caught.value.hint


def test_a_build_that_may_not_be_read_names_the_role() -> None:
    with seeded({"name": str(REGIONAL)}) as (emulator, _, builds):
        emulator.fail("GetBuild=PERMISSION_DENIED")
        with pytest.raises(NotAllowed, match="permission denied") as caught:
            builds.get(REGIONAL)
        assert "roles/cloudbuild.builds.viewer on the build's project" in caught.value.hint
        assert str(REGIONAL) in caught.value.hint


def test_an_api_that_is_disabled_is_named() -> None:
    with seeded({"name": str(REGIONAL)}) as (emulator, _, builds):
        emulator.fail("GetBuild=SERVICE_DISABLED")
        with pytest.raises(NotAllowed, match=r"cloudbuild\.googleapis\.com is not enabled"):
            builds.get(REGIONAL)


def test_a_service_that_comes_back_is_waited_for() -> None:
    with seeded({"name": str(REGIONAL)}) as (emulator, clock, builds):
        emulator.fail("GetBuild=UNAVAILABLE:2")
        assert builds.get(REGIONAL).name == REGIONAL
        assert emulator.calls.count("GetBuild") == 3
        assert 0 < clock.elapsed().total_seconds() < 1


def test_a_service_that_stays_away_is_unavailable() -> None:
    with seeded({"name": str(REGIONAL)}) as (emulator, clock, builds):
        emulator.fail("GetBuild=UNAVAILABLE")
        with pytest.raises(Unavailable, match="GetBuild"):
            builds.get(REGIONAL)
        assert 30 < clock.elapsed().total_seconds() <= 60


@contextmanager
def answering(build: api.Build, seen: list[dict[str, str]]) -> Iterator[Builds]:
    """A server that answers every GetBuild with one build, and keeps the headers."""

    def get(request: api.GetBuildRequest, context: grpc.ServicerContext) -> api.Build:
        headers = {key: str(value) for key, value in context.invocation_metadata()}
        asked = {"name": request.name, "project_id": request.project_id, "id": request.id}
        seen.append(headers | asked)
        return build

    handler = grpc.unary_unary_rpc_method_handler(
        get,
        request_deserializer=api.GetBuildRequest.deserialize,
        response_serializer=api.Build.serialize,
    )
    server = grpc.server(futures.ThreadPoolExecutor(1))
    service = "google.devtools.cloudbuild.v1.CloudBuild"
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(service, {"GetBuild": handler}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield Builds(Connection(FakeClock(), {}, f"127.0.0.1:{port}"))
    finally:
        server.stop(1).wait()


def test_the_request_goes_to_the_region_and_the_answer_may_have_the_projects_number() -> None:
    seen: list[dict[str, str]] = []
    answer = api.Build(
        name=f"projects/123456789012/locations/europe-west1/builds/{ID}",
        id=ID,
        project_id="my-project",
    )
    with answering(answer, seen) as builds:
        assert builds.get(REGIONAL).name == REGIONAL
    [asked] = seen
    assert asked["x-goog-request-params"] == "location=europe-west1"
    assert (asked["name"], asked["project_id"], asked["id"]) == (str(REGIONAL), "my-project", ID)


def test_an_old_build_without_a_name_is_what_was_asked_for() -> None:
    with answering(api.Build(id=ID, project_id="my-project"), []) as builds:
        assert builds.get(GLOBAL).name == GLOBAL


def test_another_build_in_the_answer_is_not_believed() -> None:
    with (
        answering(api.Build(name="projects/my-project/locations/global/builds/b"), []) as builds,
        pytest.raises(Unavailable, match="answered with"),
    ):
        builds.get(GLOBAL)


def test_builds_are_asked_for_where_gcloud_would(account: Callable[..., None]) -> None:
    """Nothing listens on that port: the address is in the error."""
    account()
    environ = {"CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDBUILD": "https://127.0.0.1:1/"}
    builds = Builds(Connection(FakeClock(), environ, None))
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:1"):
        builds.get(GLOBAL)
