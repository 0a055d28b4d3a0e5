"""Fixtures for every test."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import hypothesis
import pytest

from tests.running import WholeRun
from tests.world import World, world

# Tools that must be there, separated by commas: in CI a missing judge is a failure, not a skip.
REQUIRED = "BINAUTHZ_TESTS_REQUIRE_TOOLS"

# How long an example takes says more about what else the machine does than about the code.
hypothesis.settings.register_profile("steady", deadline=None)
hypothesis.settings.register_profile("quick", deadline=None, max_examples=20)
hypothesis.settings.load_profile("steady")


@pytest.hookimpl(trylast=True)  # when there is a terminal to tell
def pytest_configure(config: pytest.Config) -> None:
    """Watch the run, in the process that waits for the others."""
    terminal = config.pluginmanager.get_plugin("terminalreporter")
    if not hasattr(config, "workerinput") and terminal is not None:
        config.pluginmanager.register(WholeRun(terminal))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs a tool of the system, and what needs the image that is built by it."""
    for item in items:
        fixtures = getattr(item, "fixturenames", ())
        if "tool" in fixtures:
            item.add_marker(pytest.mark.tool)
        if "engine" in fixtures:
            item.add_marker(pytest.mark.image)


@pytest.fixture(scope="session")
def tool() -> Callable[[str], str]:
    """The path of a tool of the system; a test that asks for one that is missing is skipped."""

    def find(name: str) -> str:
        path = shutil.which(name)
        if path is None and name in os.environ.get(REQUIRED, "").split(","):
            pytest.fail(f"{name} is not installed, and {REQUIRED} asks for it", pytrace=False)
        if path is None:
            pytest.skip(f"{name} is not installed")
        return path

    return find


@pytest.fixture(scope="session")
def bash(tool: Callable[[str], str]) -> str:
    """The shell that runs the scripts of pipelines and machines."""
    return tool("bash")


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No run depends on the machine that tests it, a CI of its own included."""
    markers = ("INPUT_", "BINAUTHZ_", "GITHUB_", "CI", "BUILD", "GITLAB_", "GOOGLE_", "CLOUDSDK_")
    for name in list(os.environ):
        if name.startswith(markers) and name != "BINAUTHZ_TESTS_REQUIRE_TOOLS":
            monkeypatch.delenv(name)


@pytest.fixture
def make_world(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., World]]:
    """Make a world with a seed and settings of the test's own."""
    with ExitStack() as stack:
        yield lambda *args, **kw: stack.enter_context(world(capfd, monkeypatch, *args, **kw))


@pytest.fixture
def kms_world(make_world: Callable[..., World]) -> World:
    """A world whose one attestor lists one KMS key."""
    return make_world()
