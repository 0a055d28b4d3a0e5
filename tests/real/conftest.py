"""A registry with images in it, and the judges."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from functools import cache

import pytest

from tests.conftest import REQUIRED
from tests.judges import PASSPHRASE, FindTool, Gpg, GpgKey, OpenSsl
from tests.registries import Builder, CannotBuild, Pushed, Registry, serve


@pytest.fixture(scope="session")
def registry(tool: FindTool, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry that runs as long as the tests do."""
    program = tool("docker-registry")
    with serve(program, tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture(scope="session")
def builder(
    registry: Registry, tool: FindTool, tmp_path_factory: pytest.TempPathFactory
) -> Builder:
    """A build tool that pushes to the registry."""
    return Builder(tool("buildah"), tmp_path_factory.mktemp("buildah"), registry)


@pytest.fixture(scope="session")
def pushed(builder: Builder) -> Pushed:
    """An image for one platform."""
    try:
        return builder.push_image("apps/web", "v1", "hello\n")
    except CannotBuild as error:
        if "buildah" in os.environ.get(REQUIRED, "").split(","):
            raise
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def pushed_index(builder: Builder, pushed: Pushed) -> Pushed:
    """An image for two platforms; asked for after `pushed`, which finds out if buildah runs."""
    return builder.push_index("apps/multi", "v2", "hello\n", "amd64", "arm64")


@pytest.fixture(scope="session")
def openssl(tool: FindTool, tmp_path_factory: pytest.TempPathFactory) -> OpenSsl:
    """openssl, with the keys that it made so far."""
    return OpenSsl(tool("openssl"), tmp_path_factory.mktemp("openssl"))


@pytest.fixture(scope="session")
def make_gpg(
    tool: FindTool, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[], Gpg]]:
    """Make a gpg whose key ring is empty; two of them share nothing."""
    program, made = tool("gpg"), []

    def make() -> Gpg:
        # Not in a test's own folder: its path can be too long for the socket of an agent.
        made.append(tmp_path_factory.mktemp("gpg"))
        return Gpg(program, made[-1])

    yield make
    for home in made:
        # https://www.gnupg.org/documentation/manuals/gnupg/Invoking-gpgconf.html
        subprocess.run(["gpgconf", "--homedir", home, "--kill", "all"], check=True)


@pytest.fixture(scope="session")
def gpg_key(make_gpg: Callable[[], Gpg]) -> Callable[[str], GpgKey]:
    """A key of an algorithm, locked with PASSPHRASE, made when it is first asked for."""
    maker = make_gpg()
    return cache(lambda algorithm: maker.make_key(algorithm, PASSPHRASE))
