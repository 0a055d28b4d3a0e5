"""`attest --require-build --build`: what Cloud Build itself says of a build is judged."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from step.errors import Refused
from step.model.build import BuildName
from step.model.image import ImageRef
from step.model.provenance import TrustedBuild
from step.preconditions.build import BuildCheck
from tests.builds import BUILD, ID, OTHER, SOURCE, TRIGGER, WORKER
from tests.flows.notes import connection
from tests.flows.test_require_build import attest, entries, put, refusal
from tests.world import DIGEST, IMAGE, PROJECT, World, assert_clear, kms_seed

MakeWorld = Callable[..., World]
BUILD_NAME = f"projects/{PROJECT}/locations/us-west1/builds/{ID}"
BY_BUILD = (
    *("--trusted-source", SOURCE, "--trusted-trigger", TRIGGER),
    *("--trusted-project", PROJECT, "--build", BUILD_NAME),
)


def built(make_world: MakeWorld, **fields: Any) -> World:
    """A world with one build of Cloud Build."""
    images = [{"name": IMAGE.replace("@" + DIGEST, ":1"), "digest": DIGEST}]
    build = BUILD | {"name": BUILD_NAME, "results": {"images": images}} | fields
    return make_world(kms_seed() | {"builds": [build]})


def by_build(
    world: World, trusted: TrustedBuild | None = None, image: str = IMAGE, name: str = BUILD_NAME
) -> str:
    """What the check of a build says of an image that was named apart from it."""
    trusted = trusted or TrustedBuild(sources=(SOURCE,))
    check = BuildCheck(trusted, None, BuildName.parse(name))
    steps = check.check(ImageRef.parse(image), connection(world))
    assert next(steps).doing == f"reading {name}"
    with pytest.raises(StopIteration) as end:
        next(steps)
    return str(end.value.value)


def test_a_builds_own_record_is_enough(make_world: MakeWorld) -> None:
    world = built(make_world)
    accepted = entries(attest(world, *BY_BUILD))
    assert accepted == (
        f"{BUILD_NAME}: project 'my-project', trigger '{TRIGGER}', source '{SOURCE}'"
    )
    assert world.count("ListOccurrences") == 0


def test_with_a_build_no_occurrence_counts(make_world: MakeWorld) -> None:
    world = built(make_world)
    put(world)
    result = attest(world, "--trusted-builder", WORKER, "--build", BUILD_NAME)
    refusal(result, f"the build {BUILD_NAME} is not trusted: it does not say its builder")


@pytest.mark.parametrize(
    ("trusted", "message"),
    [
        (TrustedBuild(projects=("other",)), "its project 'my-project' is not trusted"),
        (TrustedBuild(triggers=("forged",)), f"its trigger '{TRIGGER}' is not trusted"),
        (
            TrustedBuild(sources=("https://github.com/forged/forged",)),
            f"its source '{SOURCE}' is not trusted",
        ),
        (TrustedBuild(builders=(WORKER,)), "it does not say its builder"),
    ],
)
def test_a_builds_wrong_value_is_a_refusal(
    make_world: MakeWorld, trusted: TrustedBuild, message: str
) -> None:
    with pytest.raises(Refused, match=message):
        by_build(built(make_world), trusted)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"status": "WORKING"}, "has not finished"),
        ({"status": "QUEUED"}, "has not finished"),
        ({"status": "FAILURE"}, "did not succeed"),
        ({"status": "CANCELLED"}, "did not succeed"),
        ({"status": 99}, "did not succeed"),
        ({"results": {}}, "pushed no image"),
        ({"results": {"images": [{"name": "web", "digest": DIGEST}]}}, "a registry"),
        ({"results": {"images": [{"name": "gcr.io/p/a", "digest": ""}]}}, "is empty"),
        (
            {"results": {"images": [{"name": "gcr.io/p/a", "digest": DIGEST}]}},
            f"the build {BUILD_NAME} did not push {IMAGE}",
        ),
        (
            {"results": {"images": [{"name": IMAGE.split("@")[0], "digest": f"sha256:{OTHER}"}]}},
            f"the build {BUILD_NAME} did not push {IMAGE}",
        ),
        ({"sourceProvenance": {}}, "it does not say its source"),
        (
            {"sourceProvenance": {}, "source": {"gitSource": {"url": SOURCE}}},
            "it does not say its source",
        ),
    ],
)
def test_a_build_that_did_not_push_the_image_is_a_refusal(
    make_world: MakeWorld, fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(Refused, match=message):
        by_build(built(make_world, **fields))


def test_a_build_that_is_not_there_is_not_found(make_world: MakeWorld) -> None:
    name = BUILD_NAME.replace("us-west1", "global")
    result = attest(built(make_world), *BY_BUILD[:-1], name)
    assert_clear(result, 5, "GetBuild", "projects/PROJECT/locations/REGION")


@pytest.mark.parametrize(
    ("fault", "code", "fix"),
    [("UNAVAILABLE", 6, ""), ("PERMISSION_DENIED", 4, "roles/cloudbuild.builds.viewer")],
)
def test_a_build_that_could_not_be_asked_for_is_no_yes(
    make_world: MakeWorld, fault: str, code: int, fix: str
) -> None:
    world = built(make_world)
    world.emulator.fail(f"GetBuild={fault}")
    assert_clear(attest(world, *BY_BUILD), code, "GetBuild", fix)
