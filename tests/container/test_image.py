"""What the image is made of, and that it does everything without what was left out."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import re
import runpy
import subprocess
import sys
import tarfile
import time
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import yaml

from step import __version__
from step.emulator import Emulator, Seed
from step.model.keys import Algorithm
from tests.container.engine import ROOT, Container, Engine
from tests.judges import read
from tests.keys import PgpKind, make_private_key, pgp_secret, private_pem
from tests.registries import Pushed
from tests.world import ATTESTOR, kms_seed, pgp_seed, pkix_seed

pytestmark = pytest.mark.timeout(900)

PREFIX = "opt/binauthz-attest"
PYTHON = [f"/{PREFIX}/bin/python3"]
LIMIT_MB = 30.0
LOCK = ROOT / "requirements" / "runtime.txt"
PAGE = (ROOT / "docs" / "dependencies.md").read_text()


@pytest.fixture(scope="module")
def ours(engine: Engine) -> Path:
    """The one layer that is laid over the base."""
    # Where the base is the tests' own it is one layer; a real one has several.
    return engine.layers()[-1]


@pytest.fixture(scope="module")
def files(ours: Path) -> dict[str, bytes]:
    """Every file of that layer with its content; a link's is where it points to."""
    actual = {}
    with tarfile.open(ours) as layer:
        for member in layer:
            content = layer.extractfile(member) if member.isfile() else None
            actual[member.name] = content.read() if content else member.linkname.encode()
            if content is None and not member.issym():
                del actual[member.name]
    return actual


def test_it_is_small(ours: Path, engine: Engine) -> None:
    size = ours.stat().st_size / 1e6
    assert size <= LIMIT_MB
    [total] = re.findall(r"^\| ([0-9.]+) \| \*\*all\*\* \|", PAGE, re.MULTILINE)
    assert float(total) == pytest.approx(size, rel=0.05)


def test_its_size_is_accounted_for(ours: Path, files: dict[str, bytes]) -> None:
    """Each row of the table is its packages' share of the layer, bytecode included."""
    rows = re.findall(r"^\| ([0-9.]+) \| (`[^|]+`|what is left) \| [^|]+ \|$", PAGE, re.MULTILINE)
    said = {tuple(re.findall(r"`([^`]+)`", names)): float(size) for size, names in rows}
    named = {name for names in said for name in names}
    weights = weighed(files)
    # Programs that build images compress a little less well than Python does.
    scale = ours.stat().st_size / 1e6 / sum(weights.values())
    for names, size in said.items():
        parts = names or tuple(weights.keys() - named)
        weight = scale * sum(weights.pop(name) for name in parts)
        assert size == pytest.approx(weight, abs=0.2), names
    assert weights == {}


def weighed(files: dict[str, bytes]) -> dict[str, float]:
    """Distribution -> megabytes of its files and their bytecode, as a compressed layer."""
    owners = {path: name for name, paths in records(files).items() for path in paths}
    parts: dict[str, list[str]] = {}
    for path in files:
        source = re.sub(r"__pycache__/(.+)\.cpython-\d+\.pyc$", r"\1.py", path)
        parts.setdefault(owners.get(source, "the environment itself"), []).append(path)
    return {name: compressed(files, paths) / 1e6 for name, paths in parts.items()}


def compressed(files: dict[str, bytes], paths: list[str]) -> int:
    """Bytes of a layer with these files only."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=6) as layer:
        for path in paths:
            entry = tarfile.TarInfo(path)
            entry.size = len(files[path])
            layer.addfile(entry, io.BytesIO(files[path]))
    return len(packed.getvalue())


def records(files: dict[str, bytes]) -> dict[str, dict[str, str]]:
    """Distribution -> each path that it says it has, and the digest that it says it has there."""
    actual = {}
    for path, content in files.items():
        if path.endswith(".dist-info/RECORD"):
            site = PurePosixPath(path).parents[1]
            name = re.sub(r"[-_.]+", "-", PurePosixPath(path).parent.name.split("-")[0]).lower()
            rows = csv.reader(content.decode().splitlines())
            actual[name] = {normal(site / row[0]): row[1] for row in rows}
    return actual


def normal(path: PurePosixPath) -> str:
    """The path without its `..`."""
    parts: list[str] = []
    for part in path.parts:
        if part == "..":
            parts.pop()
        else:
            parts.append(part)
    return "/".join(parts)


def test_what_is_there_is_what_the_packages_say_byte_for_byte(files: dict[str, bytes]) -> None:
    """Leaving out whole files changes none that stays, and no list names what is gone."""
    assert len(records(files)) > 30
    for name, listed in records(files).items():
        for path, digest in listed.items():
            assert path in files, name
            # A list has no digest of itself.
            if digest:
                actual = base64.urlsafe_b64encode(hashlib.sha256(files[path]).digest())
                assert digest == f"sha256={actual.decode().rstrip('=')}", path


def test_nothing_is_in_it_that_builds_or_installs_or_asks_for_commands(
    files: dict[str, bytes],
) -> None:
    assert {path.partition("/opt/")[2] for path in files if not path.startswith(PREFIX)} <= {""}
    programs = {path.removeprefix(f"{PREFIX}/bin/") for path in files if "/bin/" in path}
    assert programs == {"binauthz-attest", "python", "python3", "python3.13"}
    distributions = set(records(files))
    assert not distributions & {"pip", "setuptools", "wheel", "hatchling", "uv"}
    assert [path for path in files if path.endswith((".h", ".c", ".pyi", ".exe", ".a", ".o"))] == []


def test_all_code_is_compiled(files: dict[str, bytes]) -> None:
    sources = {path for path in files if path.endswith(".py")}
    compiled = {
        re.sub(r"__pycache__/(.+)\.cpython-\d+\.pyc$", r"\1.py", path)
        for path in files
        if path.endswith(".pyc")
    }
    assert sources == compiled
    # https://docs.python.org/3/reference/import.html#cached-bytecode-invalidation: by hash,
    # and not checked, so that no time of a layer matters.
    flags = {content[4:8] for path, content in files.items() if path.endswith(".pyc")}
    assert flags == {b"\x01\0\0\0"}


def test_every_rule_of_what_is_left_out_is_on_the_page() -> None:
    rules = runpy.run_path(str(ROOT / "requirements" / "prune.py"))["RULES"]
    wanted = []
    for rule in rules:
        patterns = ", ".join(f"`{pattern}`" for pattern in rule.files)
        stays = f" but not {', '.join(f'`{each}`' for each in rule.stays)}" if rule.stays else ""
        who = "all" if rule.package == "*" else f"`{rule.package}`"
        wanted.append(f"| {patterns}{stays} | {who} | {rule.why} |")
    table = PAGE[PAGE.index("| files | of |") :].split("\n\n")[0].splitlines()[2:]
    assert table == wanted


def test_its_labels_say_where_it_comes_from(engine: Engine) -> None:
    labels = engine.config()["Labels"]
    named = {name.removeprefix("org.opencontainers.image."): text for name, text in labels.items()}
    assert named["title"] == "binauthz-attest"
    assert named["licenses"] == "Apache-2.0"
    assert named["source"] == "https://example.com/me/binauthz-attest"
    assert named["version"] == __version__
    assert re.fullmatch(r"[0-9a-f]{40}(-dirty)?", named["revision"])


def test_it_says_its_version_and_explains_every_verb(container: Container) -> None:
    version = container.run("--version")
    assert (version.code, version.out) == (0, f"binauthz-attest {__version__}\n")
    overview = container.run("--help")
    assert overview.code == 0
    verbs = re.findall(r"^\W ([a-z]+) ", overview.out.partition("Commands")[2], re.MULTILINE)
    assert {"attest", "verify", "gate", "policy", "list", "payload", "discover"} <= set(verbs)
    for verb in [*verbs, "policy check", "policy show"]:
        shown = container.read_only(*verb.split(), "--help")
        assert (shown.code, shown.err) == (0, ""), verb
        assert f"binauthz-attest {verb}" in shown.out


@pytest.fixture
def seed_file(tmp_path: Path) -> Path:
    """A seed of an emulator, which any user may read."""
    tmp_path.chmod(0o755)
    path = tmp_path / "seed.yaml"
    path.write_text(yaml.safe_dump(kms_seed()))
    return path


def test_on_a_read_only_root_nobody_writes(container: Container) -> None:
    """So what runs there below shows that nothing has to be written."""
    for user in (0, 65532):
        for folder in ("/", "/tmp", "/opt", f"/{PREFIX}"):
            code = f"open('{folder}/x', 'w')"
            done = container.read_only("-c", code, user=user, entrypoint=PYTHON)
            assert "Read-only file system" in done.err, done.log


def test_the_page_about_many_images_is_in_it(container: Container) -> None:
    code = "from step.results.page import render; print(''.join(render('x', [], [], [])))"
    page = container.read_only("-c", code, entrypoint=PYTHON)
    assert page.out.startswith("<!doctype html>"), page.log
    assert "<style>" in page.out


def test_everything_works_as_nobody_on_a_read_only_root(
    container: Container, seed_file: Path, pushed: Pushed
) -> None:
    """The emulator and every verb that asks it, each in a container of its own."""
    ready = seed_file.parent / "ready"
    ready.mkdir()
    ready.chmod(0o777)
    mounts = {ready: "/ready", seed_file: "/seed.yaml"}
    arguments = ["emulator", "--seed", "/seed.yaml", "--ready-file", "/ready/ready.json"]
    command = container.read_only_command(*arguments, mounts=mounts)
    said = (seed_file.parent / "said").open("w+")
    with (
        said,
        subprocess.Popen(
            command, env=dict(container.environ), stdout=said, stderr=said
        ) as emulator,
    ):
        try:
            written = ready / "ready.json"
            deadline = time.monotonic() + 60
            while not written.exists():
                assert emulator.poll() is None, Path(said.name).read_text()
                assert time.monotonic() < deadline
                time.sleep(0.05)
            assert written.stat().st_uid == 65532
            ask_everything(container, json.loads(written.read_text()), pushed)
        finally:
            emulator.terminate()


def ask_everything(container: Container, ready: dict[str, Any], pushed: Pushed) -> None:
    """Run every verb that has something to ask, as nobody."""
    env = {
        "BINAUTHZ_EMULATOR_HOST": ready["grpc"],
        "STORAGE_EMULATOR_HOST": f"http://{ready['rest']}",
    }
    image, attestor = pushed.image, ("--attestor", ATTESTOR)

    def run(*arguments: str, code: int = 0) -> str:
        done = container.read_only(*arguments, env=env)
        assert done.code == code, done.log
        assert "Traceback" not in done.err
        return done.out

    run("verify", image, *attestor, code=3)
    tag = f"{pushed.name}:{pushed.tag}"
    form = ("--format", "json")
    [receipt] = json.loads(run("attest", tag, "--resolve-tags", *attestor, *form))["receipts"]
    kept = ("--journal", "gs://bucket/journal", "--receipts", "gs://bucket/receipts")
    again = json.loads(run("reattest", image, *attestor, "--yes", *kept, *form))
    assert [each["status"] for each in again["receipts"]] == ["existing"]
    assert receipt["digest"] == pushed.digest
    stored = read(ready["grpc"], receipt["occurrence"], ATTESTOR)
    assert stored.occurrence.resource_uri == f"https://{image}"
    assert "existing" in run("attest", image, *attestor)
    run("verify", image, *attestor)
    run("gate", image, *attestor)
    assert receipt["occurrence"] in run("list", image, *attestor, *form)
    assert pushed.digest in run("payload", image)
    assert pushed.digest in run("discover", image, "--check-registry")
    run("policy", "show", "--project", "my-project")
    run("policy", "check", image, "--project", "my-project")
    run("attest", "nonsense", *attestor, code=2)
    run("nonsense", code=2)


def test_keys_in_files_sign_too(container: Container, pushed: Pushed, tmp_path: Path) -> None:
    """With OpenPGP and PKIX keys, whose code is not Google's."""
    tmp_path.chmod(0o755)
    algorithm, kind = Algorithm.ECDSA_P256_SHA256, next(iter(PgpKind))
    for name, seed, secret in (
        ("pkix", pkix_seed(algorithm), private_pem(make_private_key(algorithm))),
        ("pgp", pgp_seed(kind), pgp_secret(kind)),
    ):
        key = tmp_path / name
        key.write_bytes(secret)
        with Emulator(Seed.parse(yaml.safe_dump(seed), Path())) as emulator:
            arguments = ["attest", pushed.image, "--attestor", ATTESTOR, f"--{name}-key-file=/key"]
            env = {"BINAUTHZ_EMULATOR_HOST": emulator.grpc_address}
            done = container.read_only(*arguments, env=env, mounts={key: "/key"})
        assert done.code == 0, done.log
        assert "created" in done.log


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_every_package_has_a_wheel_for(engine: Engine, tmp_path: Path, machine: str) -> None:
    """On both architectures nothing is compiled; the hashes are those of the lock.

    Where the image could be built, packages can be fetched.
    """
    tags = [f"manylinux_2_{minor}_{machine}" for minor in (17, 28, 34, 36)]
    platforms = [option for tag in tags for option in ("--platform", tag)]
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--no-deps"]
    where = ["--target", str(tmp_path), "--python-version", "3.13", *platforms]
    wanted = ["--only-binary=:all:", "--require-hashes", "--requirement", str(LOCK)]
    done = subprocess.run([*command, *where, *wanted], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
