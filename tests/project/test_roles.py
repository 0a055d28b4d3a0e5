"""The table of methods is the one truth about permissions: README, the emulator and runs agree."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from google.cloud import binaryauthorization_v1 as ba

from step.cloud.methods import CONTAINER_ANALYSIS, METHODS, Method
from step.emulator.binary_authorization import BinaryAuthorization, ValidationHelper
from step.emulator.builds import CloudBuild
from step.emulator.grafeas import Grafeas
from step.emulator.keys import new_rsa_key
from step.emulator.kms import KeyManagement
from step.emulator.rpc import Service, methods_of
from step.emulator.system_policy import SystemPolicy
from tests.policies import REQUIRE, seed
from tests.project.tracked import ROOT
from tests.world import ATTESTOR, IMAGE, PROJECT, FakeClock, World

BY_NAME = {method.name: method for method in METHODS}
# https://cloud.google.com/iam/docs/roles-permissions/binaryauthorization: the second can do less.
VERIFIER, VIEWER = (
    f"roles/binaryauthorization.attestors{which}" for which in ("Verifier", "Viewer")
)


STORAGE = {"storage.objectViewer", "storage.objectCreator"}


def tables() -> tuple[set[str], set[str]]:
    """The roles of README's two tables: for `attest`, and for what else there is."""
    section = (ROOT / "README.md").read_text().split("## What the identity needs")[1]
    first, rest = section.split("\n## ")[0].split("For more than that")
    return set(re.findall(r"roles/[\w.]+", first)), set(re.findall(r"roles/[\w.]+", rest))


def roles(*methods: Method) -> set[str]:
    return {grant.role for method in methods for grant in method.grants}


def test_attest_needs_what_readme_says(kms_world: World) -> None:
    assert kms_world.attest().code == 0
    called = {BY_NAME[name] for name in kms_world.methods}
    assert roles(*called) - {VIEWER} | {VERIFIER} == tables()[0]


@pytest.mark.parametrize(
    "command",
    [("verify", IMAGE, "--attestor", ATTESTOR), ("policy", "check", IMAGE, "--project", PROJECT)],
)
def test_other_verbs_need_what_readme_says(
    make_world: Callable[..., World], command: tuple[str, ...]
) -> None:
    world = make_world(seed(default=REQUIRE, globalPolicyEvaluationMode="ENABLE"))
    world.run(*command)
    assert roles(*(BY_NAME[name] for name in world.methods)) <= tables()[1]


def test_readme_names_no_role_for_nothing() -> None:
    # These are asked over HTTP, not by a method.
    others = {f"roles/{name}" for name in {"artifactregistry.reader"} | STORAGE}
    assert tables()[0] | tables()[1] == roles(*METHODS) | others


def test_the_pages_name_roles_of_the_table() -> None:
    """But for those that are named for what this program does not do."""
    others = {"artifactregistry.writer", "cloudkms.signerVerifier", "iam.workloadIdentityUser"}
    known = {role.removeprefix("roles/") for role in roles(*METHODS) | {VERIFIER}} | others
    for page in (ROOT / "docs").glob("*.md"):
        named = set(re.findall(r"roles/(\w+\.[\w.]*\w)", page.read_text()))
        assert named <= known | {"artifactregistry.reader"} | STORAGE, page.name


def test_the_emulator_wants_the_permissions_of_the_table() -> None:
    now = FakeClock().now
    authorization = BinaryAuthorization(now, len)
    services: list[Service] = [
        *(KeyManagement(now, new_rsa_key), Grafeas(now, timedelta(0)), CloudBuild(now)),
        *(authorization, ValidationHelper(authorization.attestor), SystemPolicy(ba.Policy())),
    ]
    wanted = {each.name: each.traits.permission for it in services for each in methods_of(it)}
    for method in METHODS:
        assert wanted[method.name] in {grant.permission for grant in method.grants}


def test_every_client_has_its_method() -> None:
    from importlib import import_module

    for method in METHODS:
        module, _, name = method.client.partition(":")
        assert callable(getattr(getattr(import_module(module), name), method.snake_name))


def test_what_writes_is_what_creates() -> None:
    writing = [method.name for method in METHODS if method.writes]
    assert writing == ["CreateOccurrence", "BatchCreateOccurrences"]
    assert BY_NAME["CreateOccurrence"].service == CONTAINER_ANALYSIS
