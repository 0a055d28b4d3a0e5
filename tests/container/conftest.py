"""The image, built once, and the registry and the build tool that it is used with."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import REQUIRED
from tests.container.engine import IMAGE, Container, Engine, shared
from tests.container.google import Authority
from tests.judges import FindTool
from tests.registries import Builder, Pushed, Registry, serve

NEEDED = ("buildah", "skopeo", "debootstrap", "make", "unshare")


@pytest.fixture(scope="session")
def engine(tool: FindTool, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """An engine that has the image; where another process is building it, that is waited for."""
    for name in NEEDED:
        tool(name)
    if os.geteuid() != 0 and "debootstrap" in os.environ.get(REQUIRED, "").split(","):
        pytest.fail(f"only root can build the image as {REQUIRED} asks for it", pytrace=False)
    if os.geteuid() != 0:
        pytest.skip("only root can make the base of the image and mounts")
    own = tmp_path_factory.getbasetemp()
    common = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    with shared(common / "image") as engine:
        yield engine


@pytest.fixture(scope="session")
def container(engine: Engine) -> Iterator[Container]:
    """A container of the image."""
    name = engine.call("buildah", "from", IMAGE).strip()
    config = engine.config()
    environ = dict(line.split("=", 1) for line in config["Env"])
    root = Path(engine.call("buildah", "mount", name).strip())
    yield Container(engine, name, root, config["Entrypoint"], environ)
    engine.call("buildah", "rm", name)


@pytest.fixture(scope="session")
def registry(tool: FindTool, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry that runs as long as the tests do."""
    with serve(tool("docker-registry"), tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture(scope="session")
def pushed(
    engine: Engine, registry: Registry, tool: FindTool, tmp_path_factory: pytest.TempPathFactory
) -> Pushed:
    """A real image in a real registry; it needs buildah to run, which `engine` found out."""
    folder = tmp_path_factory.mktemp("buildah")
    return Builder(tool("buildah"), folder, registry).push_image("apps/web", "v1", "hello\n")


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """A certificate authority of the tests' own."""
    return Authority.make(tmp_path_factory.mktemp("authority"))
