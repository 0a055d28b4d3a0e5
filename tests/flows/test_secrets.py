"""A known passphrase and key are looked for in everything that leaves a run."""

from __future__ import annotations

import base64
import re
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import typer
import typer.main

import step.cli
from step.errors import StepError
from step.model.keys import Algorithm
from step.signing.pgp import PgpSigner
from step.signing.pkix import PkixSigner
from tests.keys import (
    PgpKind,
    attestor,
    make_private_key,
    pgp_locked,
    pgp_secret,
    pgp_tsk,
    pkix_signer,
    private_pem,
)
from tests.world import ATTESTOR, IMAGE, World, pgp_seed, pkix_seed

PASSPHRASE = 'cörrect "horse" $battery %0A staple'
KIND = PgpKind.ED25519

# What goes wrong, one fault or setting each; None is a run that succeeds.
FAULTS = [
    None,
    "GetAttestor=PERMISSION_DENIED",
    "GetAttestor=NOT_FOUND",
    "GetAttestor=UNAVAILABLE",
    "ListNoteOccurrences=PERMISSION_DENIED",
    "ListNoteOccurrences=TAMPER",
    "ValidateAttestationOccurrence=NOT_VERIFIABLE",
    "ValidateAttestationOccurrence=RESOURCE_EXHAUSTED",
    "CreateOccurrence=INVALID_ARGUMENT",
    "CreateOccurrence=ALREADY_EXISTS",
    "CreateOccurrence=DROP_ANSWER",
    "CreateOccurrence=NEVER_VISIBLE",
    "CreateOccurrence=UNAUTHENTICATED",
]
# How a secret is given wrongly.
MISTAKES: dict[str, dict[str, str]] = {
    "wrong passphrase": {"passphrase": PASSPHRASE + "!"},
    "no passphrase": {"passphrase": ""},
    "passphrase that is not UTF-8": {"passphrase": PASSPHRASE + "\udcff"},
    "cut key": {"cut": "200"},
    "mixed-up key": {"cut": "-40"},
    "two keys": {"kms": "yes"},
}


def pieces(secret: str) -> set[str]:
    """What would give a secret away: its lines, its long words however it is quoted, and its
    encodings."""
    if "\n" not in secret:
        return {secret, *(word for word in re.findall(r"[a-z]+", secret) if len(word) > 5)}
    lines = {line for line in secret.splitlines() if len(line) > 20 and "-----" not in line}
    encoded = base64.b64encode(secret.encode()).decode()
    return {line for line in lines if not re.match(r"(Comment|Version):", line)} | {encoded[:48]}


@contextmanager
def watched(world: World, folder: Path, *secrets: str) -> Iterator[None]:
    """Fails when one of the secrets, or a part that gives it away, is anywhere it must not be."""
    before = {path for path in folder.rglob("*") if path.is_file()}
    yield
    content = world.capture.readouterr()
    left = [path.read_text("utf-8", "replace") for path in folder.rglob("*") if path not in before]
    for secret in secrets:
        for piece in {secret, *pieces(secret)} - {""}:
            for text in (content.out, content.err, *left):
                assert piece not in text


def run(world: World, *arguments: str) -> int:
    """Attest, and leave what was printed to `watched`."""
    world.capture.readouterr()
    return step.cli.main(["attest", IMAGE, "--attestor", ATTESTOR, *arguments], world.clock)


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("fault", FAULTS)
def test_no_run_shows_an_openpgp_secret(
    make_world: Callable[..., World],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    fault: str | None,
    form: str,
) -> None:
    world = make_world(pgp_seed(KIND))
    secret = str(pgp_locked(pgp_tsk(KIND), PASSPHRASE))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BINAUTHZ_PGP_PRIVATE_KEY", base64.b64encode(secret.encode()).decode())
    monkeypatch.setenv("BINAUTHZ_PGP_PRIVATE_KEY_PASSPHRASE", PASSPHRASE)
    if fault:
        world.emulator.fail(fault)
    with watched(world, tmp_path, secret, str(pgp_tsk(KIND)), PASSPHRASE):
        code = run(world, "--format", form, "--output-file", "receipts.json")
    assert (code == 0) == (fault in (None, "CreateOccurrence=DROP_ANSWER"))


RUNNER_FILES = ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")


def on_github(patch: pytest.MonkeyPatch, folder: Path) -> str:
    """Set up a job with a locked key and its passphrase; returns the key."""
    secret = str(pgp_locked(pgp_tsk(KIND), PASSPHRASE))
    patch.setenv("GITHUB_ACTIONS", "true")
    patch.setenv("BINAUTHZ_PGP_PRIVATE_KEY", secret)
    patch.setenv("BINAUTHZ_PGP_PRIVATE_KEY_PASSPHRASE", PASSPHRASE)
    for name in RUNNER_FILES:
        patch.setenv(name, str(folder / name))
    return secret


@pytest.mark.parametrize("mistake", MISTAKES)
def test_no_mistake_shows_an_openpgp_secret(
    make_world: Callable[..., World], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, mistake: str
) -> None:
    given = MISTAKES[mistake]
    world = make_world(pgp_seed(KIND))
    secret = str(pgp_locked(pgp_tsk(KIND), PASSPHRASE))
    passphrase = given.get("passphrase", PASSPHRASE)
    cut = secret[: int(given["cut"])] if "cut" in given else secret
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BINAUTHZ_PGP_PRIVATE_KEY", cut)
    monkeypatch.setenv("BINAUTHZ_PGP_PRIVATE_KEY_PASSPHRASE", passphrase)
    arguments = ["--kms-key-version", "projects/p"] if "kms" in given else []
    with watched(world, tmp_path, secret, str(pgp_tsk(KIND)), passphrase):
        assert run(world, *arguments) == 2
    assert world.methods == []


@pytest.mark.parametrize("fault", FAULTS)
def test_no_run_shows_a_pem_key(
    make_world: Callable[..., World],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    fault: str | None,
) -> None:
    world = make_world(pkix_seed(Algorithm.ECDSA_P256_SHA256))
    pem = private_pem(make_private_key(Algorithm.ECDSA_P256_SHA256))
    key, work = tmp_path / "key.pem", tmp_path / "work"
    key.write_bytes(pem)
    work.mkdir()
    monkeypatch.chdir(work)
    if fault:
        world.emulator.fail(fault)
    with watched(world, work, pem.decode()):
        run(world, "--pkix-key-file", str(key), "--output-file", "receipts.json")


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("given", ["variables", "files", "pem"])
def test_on_github_nothing_shows_a_secret(
    make_world: Callable[..., World],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    given: str,
    fault: str | None,
) -> None:
    """GitHub masks what comes from its own store; standard error may as well be a file that is
    uploaded, so that a mask of our own would be the leak."""
    pem = private_pem(make_private_key(Algorithm.ECDSA_P256_SHA256)).decode()
    is_pem = given == "pem"
    world = make_world(pkix_seed(Algorithm.ECDSA_P256_SHA256) if is_pem else pgp_seed(KIND))
    secret = on_github(monkeypatch, tmp_path)
    arguments = []
    if given != "variables":
        monkeypatch.delenv("BINAUTHZ_PGP_PRIVATE_KEY")
        monkeypatch.delenv("BINAUTHZ_PGP_PRIVATE_KEY_PASSPHRASE")
        (tmp_path / "key").write_text(pem if is_pem else secret)
        (tmp_path / "passphrase").write_text(PASSPHRASE)
        arguments = ["--pkix-key-file", str(tmp_path / "key")]
    if given == "files":
        passphrase_file = str(tmp_path / "passphrase")
        arguments = ["--pgp-key-file", str(tmp_path / "key")]
        arguments += ["--pgp-passphrase-file", passphrase_file]
    if fault:
        world.emulator.fail(fault)
    with watched(world, tmp_path, secret, str(pgp_tsk(KIND)), PASSPHRASE, pem):
        code = run(world, "--output-file", str(tmp_path / "receipts.json"), *arguments)
    assert (code == 0) == (fault in (None, "CreateOccurrence=DROP_ANSWER"))
    for name in RUNNER_FILES:
        assert IMAGE in (tmp_path / name).read_text()


def told(error: BaseException | None) -> Iterator[str]:
    """All that an exception says, and what is behind it, shown or not."""
    while error is not None:
        yield "".join(traceback.format_exception(error))
        yield repr((error.args, getattr(error, "__notes__", None), vars(error)))
        error = error.__cause__ or error.__context__


def damaged(secret: bytes) -> dict[str, bytes]:
    """A secret as it gets lost on its way."""
    lines = secret.splitlines(keepends=True)
    return {
        "cut": secret[: len(secret) // 2],
        "without its first line": b"".join(lines[1:]),
        "without a line in its middle": b"".join(lines[:2] + lines[3:]),
        "on one line": b"".join(line.strip() for line in lines),
        "one letter changed": secret.replace(b"A", b"B", 1),
        "twice": secret + secret,
        "in UTF-16": secret.decode().encode("utf-16"),
    }


@pytest.mark.parametrize("passphrase", ["wrong " + PASSPHRASE, PASSPHRASE[:-1], None])
@pytest.mark.parametrize("damage", [None, *damaged(b"\n\n\n")])
def test_no_exception_carries_an_openpgp_secret(damage: str | None, passphrase: str | None) -> None:
    secret = pgp_secret(KIND, passphrase=PASSPHRASE)
    given = secret if damage is None else damaged(secret)[damage]
    with pytest.raises(StepError) as caught:
        PgpSigner.load(given, passphrase)
    for piece in pieces(secret.decode()) | pieces(PASSPHRASE) | pieces(str(pgp_tsk(KIND))):
        assert all(piece not in text for text in told(caught.value))


@pytest.mark.parametrize("damage", damaged(b"\n\n\n"))
@pytest.mark.parametrize(
    "algorithm", [Algorithm.ECDSA_P256_SHA256, Algorithm.RSA_PSS_2048_SHA256, Algorithm.ML_DSA_65]
)
def test_no_exception_carries_a_pem_key(algorithm: Algorithm, damage: str) -> None:
    secret = private_pem(make_private_key(algorithm))
    error: BaseException | None = None
    try:
        signer = PkixSigner.load(damaged(secret)[damage])
        signer.key_on(attestor())
    except StepError as caught:
        error = caught
    assert error is not None
    for piece in pieces(secret.decode()):
        assert all(piece not in text for text in told(error))


def test_no_value_shows_its_secret() -> None:
    pgp = PgpSigner.load(pgp_secret(KIND, passphrase=PASSPHRASE), PASSPHRASE)
    for piece in pieces(str(pgp_tsk(KIND))) | pieces(PASSPHRASE):
        assert piece not in repr(pgp)
    for algorithm in Algorithm:
        pkix = pkix_signer(algorithm)
        assert repr(pkix) == "PkixSigner(key_id=None)"


def test_no_secret_can_be_on_a_command_line() -> None:
    """Secrets come from files and two variables. Three other programs may be started: docker's
    credential helper, which is asked on its standard input, the command that `gate` becomes, which
    is the user's own and is given neither variable, and that of `emulator`, which has no secret of
    its own: whatever the user has set is for our verbs below it."""
    command: Any = typer.main.get_command(step.cli.app)
    flags = {
        flag for verb in command.commands.values() for param in verb.params for flag in param.opts
    }
    secret = {flag for flag in flags if re.search("passphrase|password|token|secret|private", flag)}
    assert secret == {"--pgp-passphrase-file"}
    starts = re.compile(r"\b(subprocess|os\.(system|exec\w*|spawn\w*|popen|fork))\b")
    root = Path(step.cli.__file__).parents[1]
    actual = {
        (each.relative_to(root).as_posix(), start)
        for each in root.rglob("*.py")
        for start, _ in starts.findall(each.read_text())
    }
    assert {each for each in actual if each[0] != "registry/credentials.py"} == {
        ("cli/command.py", "os.execvpe"),
        ("cli/command.py", "subprocess"),
    }
