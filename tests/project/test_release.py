"""A release, from its tag to the action that runs the image by digest."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.pipelines import load
from tests.policies import DENY, seed
from tests.project.workflow import ROOT, WORKFLOWS, Run
from tests.world import ATTESTOR, DIGEST, IMAGE, PROJECT, World

NAME = IMAGE.partition("@")[0]
OTHER = f"{NAME}@sha256:{'9' * 64}"
TAG = "v1.2.3"
JOBS = list(load(WORKFLOWS / "release.yml")["jobs"])
ENVIRON = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_SYSTEM": "/dev/null",
    **{f"GIT_{who}_NAME": "me" for who in ("AUTHOR", "COMMITTER")},
    **{f"GIT_{who}_EMAIL": "me@example.com" for who in ("AUTHOR", "COMMITTER")},
}
# docker with a registry that is a folder, and gh with a folder of releases.
STAND_IN = """
import json, os, pathlib, sys
tool, *arguments = sys.argv[1:]
folder = pathlib.Path(os.environ["STATE"])
with (folder / "log").open("a") as file:
    print(json.dumps([tool, *arguments]), file=file)
place = folder / arguments[-1].replace("/", "_")
match [tool, *arguments]:
    case ["docker", "login", *_]:
        sys.exit(sys.stdin.read() != "ya29.token")
    case ["docker", "buildx", "build", *_]:
        record = arguments[arguments.index("--metadata-file") + 1]
        digest = os.environ["BUILT"]
        pathlib.Path(record).write_text(json.dumps({"containerimage.digest": digest}))
    case ["docker", "buildx", "imagetools", "inspect", *_] if not place.exists():
        sys.exit("not found")
    case ["docker", "buildx", "imagetools", "inspect", *_]:
        print(json.dumps({"mediaType": "index", "digest": place.read_text()}))
    case ["docker", "buildx", "imagetools", "create", "--tag", tag, source]:
        (folder / tag.replace("/", "_")).write_text(source.partition("@")[2])
    case ["gh", "attestation", "verify", uri, *_]:
        sys.exit(uri.partition("@")[2] != os.environ["PROVEN"])
    case ["gh", "release", "view", tag]:
        sys.exit(not (folder / tag).exists())
    case ["gh", "release", "create", tag, *_]:
        (folder / tag).touch()
"""


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-c", "init.defaultBranch=main", "-C", str(folder), *arguments]
    return subprocess.run(
        command, env=ENVIRON, check=True, capture_output=True, text=True
    ).stdout.strip()


def test_the_page_has_the_variables_that_are_read_and_roles_that_the_readme_knows() -> None:
    workflow = (WORKFLOWS / "release.yml").read_text()
    page = (ROOT / "docs" / "releasing.md").read_text()
    table = re.findall(r"^\| ((?:`[A-Z_]+`(?:, )?)+) \| [a-z]", page, re.MULTILINE)
    named = re.findall("[A-Z_]+", " ".join(table))
    assert sorted(named) == sorted(set(re.findall(r"\bvars\.(\w+)", workflow)))
    known = set(re.findall(r"roles/[\w.]+", (ROOT / "README.md").read_text()))
    others = {"roles/artifactregistry.reader", "roles/artifactregistry.writer"}
    others |= {"roles/iam.workloadIdentityUser"}
    assert set(re.findall(r"roles/[\w.]+", page)) <= known | others


class Repository:
    """A repository that is pushed to, and a clone of it with the version that is to be released."""

    def __init__(self, folder: Path) -> None:
        self.origin = folder / "origin"
        self.clone = folder / "clone"
        for path in (self.origin, self.clone):
            path.mkdir()
        git(self.origin, "init", "--bare")
        git(self.clone, "init")
        git(self.clone, "remote", "add", "origin", str(self.origin))
        (self.clone / "step").mkdir()
        (self.clone / ".ci").mkdir()
        for name in ("action.yml", "LICENSE", ".ci/pin-action", ".ci/publish-action"):
            shutil.copy(ROOT / name, self.clone / name)

    def version(self, version: str, branch: str = "main") -> None:
        """Commit a version, tag it and push both."""
        (self.clone / "step" / "__init__.py").write_text(f'__version__ = "{version}"\n')
        changes = (
            f"## [Unreleased]\n\n- next\n\n## [{version}] - 2026-11-22\n\n- {version}: new\n\n"
        )
        (self.clone / "CHANGELOG.md").write_text(f"{changes}## [0.1.0] - 2026-01-01\n\n- old\n")
        git(self.clone, "add", ".")
        git(self.clone, "commit", "--message", version)
        git(self.clone, "tag", f"v{version}")
        git(self.clone, "push", "origin", f"HEAD:{branch}", f"v{version}")

    def publish(self, tag: str, image: str = IMAGE) -> subprocess.CompletedProcess[str]:
        """Run the script in a fresh clone, as a job does."""
        place = self.clone.with_name(f"clone-{len(list(self.clone.parent.iterdir()))}")
        self.check_out(place, tag)
        command = [str(place / ".ci" / "publish-action"), tag, image]
        return subprocess.run(
            command, cwd=place, env=ENVIRON, capture_output=True, text=True, check=False
        )

    def check_out(self, place: Path, tag: str) -> None:
        git(self.origin, "clone", str(self.origin), str(place))
        git(place, "checkout", "--detach", tag)

    def branch(self, name: str) -> list[str]:
        """The subjects of a branch's commits, newest first; none without the branch."""
        if not git(self.origin, "branch", "--list", name):
            return []
        return git(self.origin, "log", "--format=%s", name).splitlines()


@pytest.fixture
def repository(tool: Callable[[str], str], tmp_path: Path) -> Repository:
    tool("git")
    (tmp_path / "git").mkdir()
    repository = Repository(tmp_path / "git")
    repository.version("1.2.3")
    return repository


def test_the_branch_has_the_action_and_nothing_that_could_run(repository: Repository) -> None:
    done = repository.publish(TAG)
    assert (done.returncode, done.stderr) == (0, "")
    commit = done.stdout.strip()
    assert git(repository.origin, "rev-parse", "v1") == commit
    listed = git(repository.origin, "ls-tree", "-r", "--name-only", commit).splitlines()
    assert listed == ["LICENSE", "action.yml"]
    published = git(repository.origin, "show", f"{commit}:action.yml")
    assert published.endswith(f"  image: docker://{IMAGE}")
    message = git(repository.origin, "log", "-1", "--format=%b", commit)
    assert f"Image: {IMAGE}" in message
    assert f"Source: {git(repository.origin, 'rev-parse', f'{TAG}^{{commit}}')}" in message


def test_publishing_again_prints_the_commit_that_is_there(repository: Repository) -> None:
    first = repository.publish(TAG)
    repository.version("1.2.4")
    second = repository.publish("v1.2.4", OTHER)
    again = repository.publish(TAG)
    assert (again.returncode, again.stdout) == (0, first.stdout)
    assert repository.branch("v1") == ["v1.2.4", TAG]
    parent = git(repository.origin, "rev-parse", f"{second.stdout.strip()}^")
    assert parent == first.stdout.strip()


def test_a_release_never_gets_another_image(repository: Repository) -> None:
    first = repository.publish(TAG)
    done = repository.publish(TAG, OTHER)
    assert done.returncode == 2
    assert "with another image" in done.stderr
    assert git(repository.origin, "rev-parse", "v1") == first.stdout.strip()


def test_a_version_before_the_newest_is_not_put_on_top(repository: Repository) -> None:
    repository.version("1.10.0")
    assert repository.publish("v1.10.0").returncode == 0
    done = repository.publish(TAG)
    assert done.returncode == 2
    assert "v1.10.0 is on v1 already" in done.stderr
    assert repository.branch("v1") == ["v1.10.0"]


def test_another_major_version_has_a_branch_of_its_own(repository: Repository) -> None:
    assert repository.publish(TAG).returncode == 0
    repository.version("2.0.0")
    assert repository.publish("v2.0.0", OTHER).returncode == 0
    assert (repository.branch("v1"), repository.branch("v2")) == ([TAG], ["v2.0.0"])


@pytest.mark.parametrize("tag", ["latest", "v1.2", "v1.2.3-rc1", "release-v1.2.3"])
def test_only_a_version_is_published(repository: Repository, tag: str) -> None:
    place = repository.clone
    git(place, "tag", tag)
    command = [str(place / ".ci" / "publish-action"), tag, IMAGE]
    done = subprocess.run(command, cwd=place, env=ENVIRON, capture_output=True, check=False)
    assert done.returncode != 0
    assert git(repository.origin, "branch", "--format=%(refname:short)") == "main"


def test_a_job_waits_for_all_that_stand_before_it() -> None:
    jobs = load(WORKFLOWS / "release.yml")["jobs"]
    after: dict[str, set[str]] = {}
    for name, job in jobs.items():
        needed = {job["needs"]} if isinstance(job.get("needs"), str) else set(job.get("needs", ()))
        after[name] = needed.union(*(after[each] for each in needed))
        assert after[name] == set(after) - {name}
        # Without a condition, GitHub runs no job after one that failed.
        assert "if" not in job


def test_a_job_has_the_account_for_what_it_does() -> None:
    jobs = load(WORKFLOWS / "release.yml")["jobs"]
    accounts = {
        name: step["with"]
        for name, job in jobs.items()
        for step in job["steps"]
        if step.get("uses", "").startswith("google-github-actions/auth@")
    }
    assert {name: given["service_account"] for name, given in accounts.items()} == {
        "build": "${{ vars.PUSHER }}",
        "attest": "${{ vars.SIGNER }}",
        "gate": "${{ vars.VIEWER }}",
        "tag": "${{ vars.PUSHER }}",
    }
    for name in ("build", "tag"):
        assert accounts[name]["create_credentials_file"] == "false"
        assert accounts[name]["export_environment_variables"] == "false"
    assert [name for name, job in jobs.items() if "environment" in job] == ["attest"]


class Release:
    """A run of the workflow, with git for real and stand-ins for docker and gh."""

    def __init__(
        self, world: World, patch: pytest.MonkeyPatch, folder: Path, repository: Repository
    ) -> None:
        self.world = world
        self.patch = patch
        self.folder = folder
        self.repository = repository
        self.state = folder / "state"
        self.programs = folder / "bin"
        for path in (self.state, self.programs):
            path.mkdir()
        stand_in = folder / "stand_in.py"
        stand_in.write_text(STAND_IN)
        for tool in ("docker", "gh"):
            program = self.programs / tool
            program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -IS {stand_in} {tool} "$@"\n')
            program.chmod(0o755)
        self.run: Run | None = None

    def jobs(self, built: str = DIGEST, tag: str = TAG) -> list[str]:
        """Run all jobs; those that succeeded."""
        folder = self.folder / f"run-{len(list(self.folder.iterdir()))}"
        folder.mkdir()
        names = ("WORKLOAD_IDENTITY_PROVIDER", "PUSHER", "SIGNER", "VIEWER")
        variables = {"IMAGE": NAME, "ATTESTOR": ATTESTOR, "POLICY_PROJECT": PROJECT}
        variables |= {name: name.lower() for name in names}
        known = {f"vars.{name}": value for name, value in variables.items()}
        self.run = Run(
            self.world,
            self.patch,
            folder,
            WORKFLOWS / "release.yml",
            known | {"github.ref_name": tag, "github.token": "ghs_token"},
            {"google-github-actions/auth": {"access_token": "ya29.token"}},
            # All of the platforms takes a registry that has them.
            {"platforms": "index"},
            ENVIRON
            | {
                "PATH": f"{self.programs}:{ENVIRON['PATH']}",
                "STATE": str(self.state),
                "BUILT": built,
                "PROVEN": DIGEST,
                "RUNNER_TEMP": str(folder),
                "GITHUB_SHA": "c0ffee",
                "GITHUB_SERVER_URL": "https://github.com",
                "GITHUB_REPOSITORY": "OWNER/binauthz-attest",
            },
            lambda place: self.repository.check_out(place, tag),
        )
        done: list[str] = []
        for name in JOBS:
            if not self.run.job(name):
                break
            done.append(name)
        return done

    def calls(self, *words: str) -> list[list[str]]:
        """The calls of docker and gh that begin so."""
        lines = (self.state / "log").read_text().splitlines()
        return [call for call in map(json.loads, lines) if call[: len(words)] == list(words)]


@pytest.fixture
def start(
    make_world: Callable[..., World],
    monkeypatch: pytest.MonkeyPatch,
    tool: Callable[[str], str],
    tmp_path: Path,
    repository: Repository,
) -> Callable[..., Release]:
    tool("jq")

    def make(**policy: object) -> Release:
        world = make_world(seed(**policy))
        return Release(world, monkeypatch, tmp_path, repository)

    return make


def test_a_release_is_built_once_attested_with_itself_and_published(
    start: Callable[..., Release],
) -> None:
    release = start()
    assert release.jobs() == JOBS
    assert release.run
    assert release.run.images == [f"docker://{IMAGE}"] * 3
    assert release.run.commands == ["attest", "gate", "policy check"]
    [build] = release.calls("docker", "buildx", "build")
    assert {"--sbom=true", "--provenance=mode=max", "linux/amd64,linux/arm64"} <= set(build)
    assert f"type=image,name={NAME},push-by-digest=true,name-canonical=true,push=true" in build
    assert {"VERSION=1.2.3", "REVISION=c0ffee"} <= set(build)
    assert (release.state / f"{NAME}:{TAG}".replace("/", "_")).read_text() == DIGEST
    assert release.world.count("CreateOccurrence") == 1
    notes = (release.run.folder / "notes.md").read_text()
    commit = git(release.repository.origin, "rev-parse", "v1")
    assert f"- uses: OWNER/binauthz-attest@{commit} # {TAG}\n" in notes
    assert f"~~~text\n{IMAGE}\n~~~" in notes
    assert "- 1.2.3: new" in notes
    assert "next" not in notes
    assert "old" not in notes
    [receipt] = json.loads((release.run.folder / "receipts.json").read_text())["receipts"]
    assert receipt["image"] == IMAGE


def test_a_release_again_changes_nothing(start: Callable[..., Release]) -> None:
    release = start()
    assert release.jobs() == JOBS
    before = git(release.repository.origin, "for-each-ref")
    # Another build would have another digest; there is none.
    assert release.jobs(built=OTHER.partition("@")[2]) == JOBS
    assert git(release.repository.origin, "for-each-ref") == before
    assert len(release.calls("docker", "buildx", "build")) == 1
    assert len(release.calls("docker", "buildx", "imagetools", "create")) == 1
    assert release.world.count("CreateOccurrence") == 1
    assert len(release.calls("gh", "release", "create")) == 1
    assert len(release.calls("gh", "release", "edit")) == 1


def test_what_somebody_put_under_the_tag_is_not_taken_for_the_build(
    start: Callable[..., Release],
) -> None:
    """Whoever may push could have it signed as built here otherwise."""
    release = start()
    place = release.state / f"{NAME}:{TAG}".replace("/", "_")
    place.write_text(OTHER.partition("@")[2])
    assert release.jobs() == []
    assert release.calls("docker", "buildx", "build") == []
    [asked] = release.calls("gh", "attestation", "verify")
    assert asked[3:] == [
        f"oci://{OTHER}",
        "--repo",
        "OWNER/binauthz-attest",
        "--signer-workflow",
        "OWNER/binauthz-attest/.github/workflows/release.yml",
        "--source-digest",
        "c0ffee",
        "--deny-self-hosted-runners",
    ]
    assert not release.world.wrote


def test_provenance_is_signed_of_nothing_but_a_build() -> None:
    steps = load(WORKFLOWS / "release.yml")["jobs"]["build"]["steps"]
    [sign] = [each for each in steps if "attest-build-provenance@" in each.get("uses", "")]
    assert "steps.image.outputs.built == 'true'" in sign["if"]
    [build] = [each for each in steps if each.get("id") == "image"]
    before, _, after = build["run"].partition("docker buildx build ")
    assert "built=true" not in before
    assert "built=true" in after


def test_the_bases_of_the_image_are_named_by_digest_where_updates_find_them() -> None:
    """Dependabot reads FROM lines, and no ARG."""
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    names = [line.split()[1] for line in lines if line.startswith("FROM ")]
    bases = [name for name in names if not name.startswith("${")]
    assert len(bases) == 2
    assert all(re.fullmatch(r"[\w./-]+:[\w.-]+@sha256:[0-9a-f]{64}", name) for name in bases)
    updates = load(ROOT / ".github" / "dependabot.yml")["updates"]
    assert "docker" in {each["package-ecosystem"] for each in updates}


def test_what_cannot_be_attested_is_not_published(start: Callable[..., Release]) -> None:
    release = start()
    release.world.emulator.fail("CreateOccurrence=PERMISSION_DENIED")
    assert release.jobs() == ["build"]
    assert release.repository.branch("v1") == []
    assert release.calls("docker", "buildx", "imagetools", "create") == []


def test_what_a_cluster_would_not_run_is_not_published(start: Callable[..., Release]) -> None:
    release = start(default=DENY)
    assert release.jobs() == ["build", "attest"]
    assert release.repository.branch("v1") == []
    assert release.calls("docker", "buildx", "imagetools", "create") == []


def test_a_tag_that_names_another_image_is_left_alone(start: Callable[..., Release]) -> None:
    """As if it had been set while this release was under way."""
    release = start()
    assert release.jobs() == JOBS
    (place,) = release.state.glob(f"*:{TAG}")
    assert release.run
    place.write_text(OTHER.partition("@")[2])
    release.run.known["needs.build.outputs.digest"] = DIGEST
    assert not release.run.job("tag")
    assert place.read_text() == OTHER.partition("@")[2]


@pytest.mark.parametrize("why", ["version", "changelog", "branch"])
def test_a_tag_that_is_no_release_builds_nothing(start: Callable[..., Release], why: str) -> None:
    release = start()
    repository = release.repository
    if why == "version":
        git(repository.clone, "tag", "v1.9.9")
        git(repository.clone, "push", "origin", "v1.9.9")
    else:
        repository.version("1.9.9", branch="other" if why == "branch" else "main")
    if why == "changelog":
        changelog = repository.clone / "CHANGELOG.md"
        changelog.write_text(changelog.read_text().replace("## [1.9.9] - ", "## [1.9.9], "))
        git(repository.clone, "commit", "--all", "--message", "changes")
        git(repository.clone, "tag", "--force", "v1.9.9")
        git(repository.clone, "push", "--force", "origin", "HEAD:main", "v1.9.9")
    assert release.jobs(tag="v1.9.9") == []
    assert not (release.state / "log").exists()
