"""What came with the sources, by git's own files: git itself is the judge of the reader."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from step.discovery.checkout import Checkout, has_repository, read_index
from step.discovery.workspace import search
from step.errors import BadInput

RECORD = "europe-docker.pkg.dev/p/apps/web@sha256:" + "6" * 64 + "\n"
NAMES = ["image-refs.txt", "a/b", "with space", "ünïcode", "deep/er/still", "z" * 200, "zz/top"]

Git = Callable[..., None]


@pytest.fixture
def git(tool: Callable[[str], str], tmp_path: Path) -> Git:
    """git, in a folder of the test's own, without anybody's settings."""
    path = tool("git")
    environ = os.environ | {"HOME": str(tmp_path), "GIT_CONFIG_NOSYSTEM": "1"}
    environ |= {
        f"GIT_{who}_{what}": "a@b.c"
        for who in ("AUTHOR", "COMMITTER")
        for what in ("NAME", "EMAIL")
    }

    def run(*arguments: str, folder: Path | None = None) -> None:
        command = [path, "-c", "protocol.file.allow=always", *arguments]
        subprocess.run(
            command, cwd=folder or tmp_path / "ws", env=environ, check=True, capture_output=True
        )

    (tmp_path / "ws").mkdir()
    return run


@pytest.fixture
def workspace(git: Git, tmp_path: Path) -> Path:
    git("init", "--quiet")
    return tmp_path / "ws"


def put(workspace: Path, name: str, text: str = RECORD) -> Path:
    path = workspace / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def origin(path: Path, began: datetime | None = None) -> str | None:
    return Checkout(began).origin_of(path)


@pytest.mark.parametrize("version", ["2", "3", "4"])
@pytest.mark.parametrize("hashing", ["sha1", "sha256"])
def test_every_version_of_the_index_says_what_git_says(
    git: Git, tmp_path: Path, version: str, hashing: str
) -> None:
    git("init", "--quiet", f"--object-format={hashing}")
    workspace = tmp_path / "ws"
    tracked = [put(workspace, name) for name in NAMES]
    git("add", ".")
    if version == "3":  # what needs its longer entries
        git("update-index", "--skip-worktree", NAMES[0])
    else:
        git("update-index", "--index-version", version)
    assert (workspace / ".git/index").read_bytes()[7] == int(version)
    for path in tracked:
        assert origin(path) == "is tracked by git, so that it came with the sources"
    for name in ("image-refs", "image-refs.txt2", "a/c", "zz/t", "deep"):
        if not (workspace / name).exists():
            assert origin(put(workspace, name)) is None


def test_a_record_that_is_tracked_names_no_image(git: Git, workspace: Path) -> None:
    put(workspace, "image-refs.txt")
    git("add", ".")
    with pytest.raises(
        BadInput, match=r"in the workspace, image-refs\.txt is tracked by git"
    ) as told:
        search(workspace)
    assert "--from-file" in told.value.hint
    put(workspace, "digest.txt", RECORD.replace("6" * 64, "7" * 64))
    [record] = search(workspace)
    assert record.source.startswith("digest.txt")


def test_a_layout_that_is_tracked_names_no_image(git: Git, workspace: Path) -> None:
    put(workspace, "oci/oci-layout", '{"imageLayoutVersion": "1.0.0"}')
    put(workspace, "oci/index.json", '{"schemaVersion": 2, "manifests": []}')
    git("add", "oci/index.json")
    with pytest.raises(BadInput, match=r"oci/index\.json is tracked by git"):
        search(workspace)


@pytest.mark.parametrize("how", ["file", "folder"])
def test_a_link_that_is_tracked_says_which_file_is_meant(
    git: Git, workspace: Path, how: str
) -> None:
    if how == "file":
        (workspace / "image-refs.txt").symlink_to("modules/refs")
        git("add", "image-refs.txt")
        put(workspace, "modules/refs")
    else:
        (workspace / "target").symlink_to("modules")
        git("add", "target")
        put(workspace, "modules/jib-image.digest", "sha256:" + "6" * 64)
    with pytest.raises(BadInput, match="is tracked by git"):
        search(workspace)


def test_a_submodule_and_another_working_tree_are_checkouts(
    git: Git, workspace: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    git("init", "--quiet", folder=other)
    put(other, "image-refs.txt")
    git("add", ".", folder=other)
    git("commit", "--quiet", "--message=x", folder=other)
    git("submodule", "--quiet", "add", str(other), "sub")
    git("commit", "--quiet", "--message=x")
    assert origin(workspace / "sub/image-refs.txt") is not None
    assert origin(put(workspace, "sub/new.txt")) is None
    git("worktree", "add", "--quiet", str(tmp_path / "tree"), folder=other)
    assert origin(tmp_path / "tree/image-refs.txt") is not None
    assert origin(put(tmp_path / "tree", "new.txt")) is None


@pytest.mark.parametrize("link", ["gitdir: ../elsewhere/.git/modules/sub\n", "nonsense", ""])
def test_a_checkout_whose_own_folder_is_not_here_is_unknown(tmp_path: Path, link: str) -> None:
    """Where a submodule alone is mounted into a container, for example."""
    (tmp_path / ".git").write_text(link)
    assert has_repository(tmp_path)
    path = put(tmp_path, "image-refs.txt")
    assert origin(path) == "may be tracked by git, whose index cannot be read"


def test_a_trap_in_a_file_that_came_with_the_sources_stops_nothing(
    git: Git, workspace: Path
) -> None:
    put(workspace, "metadata.json", '{"containerimage.config.digest": "sha256:%s"}' % ("6" * 64))
    with pytest.raises(BadInput):
        search(workspace)
    git("add", ".")
    put(workspace, "image-refs.txt")
    [record] = search(workspace)
    assert record.source.startswith("image-refs.txt")


def test_an_index_in_parts_is_not_taken_for_a_whole(git: Git, workspace: Path) -> None:
    put(workspace, "image-refs.txt")
    git("add", ".")
    git("update-index", "--split-index")
    path = put(workspace, "digest.txt")
    assert origin(path) == "may be tracked by git, whose index cannot be read"


def test_a_sparse_index_has_folders(git: Git, workspace: Path) -> None:
    for name in ("in/a", "out/target/jib-image.json"):
        put(workspace, name)
    git("add", ".")
    git("commit", "--quiet", "--message=x")
    git("sparse-checkout", "set", "--cone", "--sparse-index", "in")
    assert origin(put(workspace, "out/target/jib-image.json")) is not None
    assert origin(put(workspace, "in/new")) is None


def test_what_is_older_than_the_checkout_or_the_run(git: Git, workspace: Path) -> None:
    git("commit", "--quiet", "--allow-empty", "--message=x")
    path = put(workspace, "image-refs.txt")
    assert origin(path) is None
    assert has_repository(workspace)
    now = datetime.now(UTC)
    assert origin(path, now - timedelta(hours=1)) is None
    assert origin(path, now + timedelta(hours=1)) == "is older than the run"
    os.utime(path, (0, 0))
    assert origin(path) == "is older than the checkout"


def test_without_git_the_run_alone_tells(tmp_path: Path) -> None:
    path = put(tmp_path, "image-refs.txt")
    assert not has_repository(tmp_path)
    assert origin(path) is None
    os.utime(path, (0, 0))
    assert origin(path, datetime.now(UTC) - timedelta(hours=1)) == "is older than the run"
    # Whoever packs the sources writes any time, but not when they came here.
    later = datetime.now(UTC) + timedelta(hours=2)
    os.utime(path, (later.timestamp(), later.timestamp()))
    assert origin(path, datetime.now(UTC) + timedelta(hours=1)) == "is older than the run"


@given(st.binary(max_size=300))
def test_any_index_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    folder = tmp_path_factory.mktemp("git", numbered=True)
    for head in (b"", b"DIRC\0\0\0\2\0\0\0\3", b"DIRC\0\0\0\4\0\0\0\3"):
        (folder / "index").write_bytes(head + data)
        try:
            assert len(list(read_index(folder))) <= 3
        except (ValueError, IndexError):
            continue
