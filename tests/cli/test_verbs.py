"""The command line around the main job: help, versions, payloads, and options from variables."""

from __future__ import annotations

import io
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer.main

import step.cli
from step import __version__
from step.cli import main
from step.model.image import ImageRef
from step.model.payload import SIMPLE_SIGNING, Payload, pae
from tests.keys import PgpKind, pgp_secret
from tests.world import ATTESTOR, DIGEST, IMAGE, VERSION, World, kms_seed, pgp_seed

NAME = IMAGE.partition("@")[0]


def test_the_version(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capfd.readouterr().out == f"binauthz-attest {__version__}\n"


def verbs() -> dict[str, Any]:
    """Every command and group of commands, by what is typed for it."""
    actual: dict[str, Any] = {"": typer.main.get_command(step.cli.app)}
    for name, verb in list(actual[""].commands.items()):
        actual[name] = verb
        actual |= {f"{name} {sub}": each for sub, each in getattr(verb, "commands", {}).items()}
    return actual


VERBS = [name for name, verb in verbs().items() if not hasattr(verb, "commands")]


def shown_help(verb: str, capfd: pytest.CaptureFixture[str]) -> str:
    assert main([*verb.split(), "--help"]) == 0
    return capfd.readouterr().out


@pytest.mark.parametrize("verb", verbs())
def test_help_fits_80_columns_and_is_not_cut(
    verb: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    text = shown_help(verb, capfd)
    assert text.startswith(f"Usage: binauthz-attest {verb}".rstrip())
    assert max(map(len, text.splitlines())) <= 80
    # A summary that is too long for its line ends so; `[IMAGE]...` is a repeatable argument.
    assert not re.search(r"\.\.\.$", text.partition("\n")[2], re.MULTILINE)


@pytest.mark.parametrize("verb", VERBS)
def test_help_has_every_option_with_its_text_and_default(
    verb: str, capfd: pytest.CaptureFixture[str]
) -> None:
    text = " ".join(shown_help(verb, capfd).split())
    shown = [param for param in verbs()[verb].params if not param.hidden]
    for each in shown:
        if each.param_type_name == "option":
            flag = each.opts[0].removeprefix("--")
            assert f" --[no-]{flag} " in text if each.secondary_opts else f" --{flag} " in text
        assert each.help in text
        if each.default not in (None, False):
            default = each.opts[0] if each.default is True else getattr(each.default, "value", None)
            assert f"[default: {default or each.default}]" in text
    hidden = [param for param in verbs()[verb].params if param.hidden]
    assert not [each for each in hidden if f"{each.opts[0]} " in text]


@pytest.mark.parametrize("verb", VERBS)
def test_the_examples_in_the_help_are_commands(
    verb: str, capfd: pytest.CaptureFixture[str]
) -> None:
    examples = shown_help(verb, capfd).partition("\nExamples:\n")[2].splitlines()
    assert examples
    for example in examples:
        words = shlex.split(example.partition(">")[0])
        assert words[: 1 + len(verb.split())] == ["binauthz-attest", *verb.split()]
        verbs()[verb].make_context(verb, words[1 + len(verb.split()) :])


def test_options_stand_under_headings(capfd: pytest.CaptureFixture[str]) -> None:
    headings = re.findall(r"^(\w[^:]*):$", shown_help("attest", capfd), re.MULTILINE)
    assert headings == [
        "Which images",
        "Which attestors",
        "With which key",
        "What must be true before it is signed",
        "How",
        "Where it is to run",
        "What comes out",
        "Options",
        "Examples",
    ]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["policy"], "Missing command"),
        (
            ["attest", IMAGE, "--format", "yaml"],
            "Invalid value for '--format': 'yaml' is not one of 'text', 'json'",
        ),
        (["attest", IMAGE, "--timeout", "2"], "--timeout: '2' is not a duration"),
        (
            ["attest", IMAGE, "--vulnerability-timeout", "2"],
            "--vulnerability-timeout: '2' is not a duration",
        ),
        (
            ["verify", IMAGE, "--at-least", "x", "--attestor", ATTESTOR],
            "Invalid value for '--at-least': 'x' is not a valid int",
        ),
    ],
)
def test_a_mistake_is_one_line_and_a_hint(
    arguments: list[str], says: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    error, hint = capfd.readouterr().err.splitlines()
    assert error == f"error: {says}"
    assert hint.startswith("  hint: ")


def test_the_module_is_the_program() -> None:
    command = [sys.executable, "-m", "step", "--version"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert shown == f"binauthz-attest {__version__}\n"


def test_help_loads_no_client_library() -> None:
    """`--help` is instant: the clients alone take a second."""
    code = (
        "import sys, step.cli; step.cli.main(['attest', '--help']);"
        "heavy = {'google', 'grpc', 'grafeas', 'cryptography', 'pysequoia', 'yaml'};"
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.parametrize("given", [[IMAGE], ["--artifact-url", f"https://{IMAGE}"]])
def test_payload_prints_the_bytes_to_sign(
    capfdbinary: pytest.CaptureFixture[bytes], given: list[str]
) -> None:
    assert main(["payload", *given]) == 0
    assert capfdbinary.readouterr().out == Payload.of(ImageRef.parse(IMAGE)).to_bytes()


def test_payload_prints_its_pre_authentication_encoding(
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    body = Payload.of(ImageRef.parse(IMAGE)).to_bytes()
    assert main(["payload", IMAGE, "--pae"]) == 0
    assert capfdbinary.readouterr().out == pae(SIMPLE_SIGNING, body)
    assert main(["payload", IMAGE, "--pae", "--dsse-type", "a/b"]) == 0
    assert capfdbinary.readouterr().out == pae("a/b", body)


@pytest.mark.parametrize("given", [[], [f"{NAME}:tag"], [DIGEST]])
def test_payload_refuses_what_is_no_image(
    capfd: pytest.CaptureFixture[str], given: list[str]
) -> None:
    assert main(["payload", *given]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert "  hint: " in err


@pytest.mark.parametrize("prefix", ["INPUT_", "BINAUTHZ_"])
def test_every_option_can_be_a_variable(
    make_world: Callable[..., World], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, prefix: str
) -> None:
    """As a GitHub action gets its inputs: no arguments, and empty where nothing was given."""
    world = make_world(kms_seed())
    given = {
        "IMAGES": "",
        "IMAGE": NAME,
        "DIGEST": DIGEST,
        "METADATA": "",
        "FROM_FILE": "",
        "ATTESTOR": "built-by-ci",
        "PROJECT": "my-project",
        "ATTESTATION_PROJECT": "my-attestations",
        "KMS_KEY_VERSION": VERSION,
        "PGP_KEY_FILE": "",
        "WAIT": "false",
        "TIMEOUT": "1m",
        "VALIDATE": "false",
        "DRY_RUN": "false",
        "FORMAT": "json",
        "OUTPUT_FILE": str(tmp_path / "receipts.json"),
    }
    for name, value in given.items():
        monkeypatch.setenv(prefix + name, value)
    result = world.run()
    receipt = result.receipt
    assert receipt["image"] == IMAGE
    assert receipt["occurrence"].startswith("projects/my-attestations/")
    assert receipt["visible_after_seconds"] is None
    assert sorted(world.methods) == [
        "AsymmetricSign",
        "CreateOccurrence",
        "GetAttestor",
        "ListNoteOccurrences",
    ]
    assert json.loads((tmp_path / "receipts.json").read_text()) == result.document


def test_lists_in_variables_are_separated_by_white_space(
    make_world: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world()
    other = IMAGE.replace("0123", "ffff")
    monkeypatch.setenv("INPUT_IMAGES", f"{IMAGE}\n{other}\n")
    monkeypatch.setenv("INPUT_ATTESTOR", f"\n{ATTESTOR}\n")
    monkeypatch.setenv("INPUT_FORMAT", "json")
    assert [receipt["image"] for receipt in world.run().document["receipts"]] == [IMAGE, other]


def test_gclouds_spellings_work(make_world: Callable[..., World]) -> None:
    world = make_world(kms_seed(key_id="urn:our-key"))
    given = ["--artifact-url", f"https://{IMAGE}", "--attestor", "built-by-ci"]
    given += ["--attestor-project", "my-project", "--keyversion", VERSION]
    given += ["--public-key-id-override", "urn:our-key", "--format", "json"]
    assert world.run("attest", *given).receipt["public_key_id"] == "urn:our-key"


@pytest.mark.parametrize("source", ["metadata", "file", "standard input", "bake", "references"])
def test_every_source_of_the_image(
    make_world: Callable[..., World], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, source: str
) -> None:
    record = {"containerimage.digest": DIGEST, "image.name": f"{NAME}:v1,{NAME}:latest"}
    file = tmp_path / "record"
    match source:
        case "metadata":
            given = ["--metadata", json.dumps(record)]
        case "bake":
            given = ["--metadata", json.dumps({"web": record, "buildx.build.warnings": []})]
        case "file":
            file.write_text(f"{DIGEST}\n")
            given = ["--image", NAME, "--from-file", str(file)]
        case "references":
            file.write_text(f"{IMAGE}\n")
            given = ["--from-file", str(file)]
        case _:
            stdin = io.TextIOWrapper(io.BytesIO(json.dumps(record).encode()))
            monkeypatch.setattr("sys.stdin", stdin)
            given = ["--from-file", "-"]
    result = make_world().run("attest", *given, "--attestor", ATTESTOR, "--format", "json")
    assert result.receipt["image"] == IMAGE


def test_files_that_are_no_input(kms_world: World, tmp_path: Path) -> None:
    binary, large = tmp_path / "binary", tmp_path / "large"
    binary.write_bytes(b"\xff\xfe")
    with large.open("wb") as file:
        file.truncate(10 * 1024 * 1024 + 1)
    for path, says in (
        (binary, "not UTF-8"),
        (large, "over 10 MiB"),
        (tmp_path / "missing", "cannot be read"),
    ):
        result = kms_world.run("attest", "--from-file", str(path), "--attestor", ATTESTOR)
        assert result.code == 2
        assert says in result.err


def test_text_for_people(kms_world: World) -> None:
    result = kms_world.run("attest", IMAGE, "--attestor", ATTESTOR)
    assert result.code == 0
    assert result.out.startswith(f"created {IMAGE}\n")
    assert "warning: everything goes to the emulator" in result.err
    assert "\x1b" not in result.out + result.err


def test_the_passphrase_file_loses_one_line_end(
    make_world: Callable[..., World], tmp_path: Path
) -> None:
    world = make_world(pgp_seed(PgpKind.ED25519))
    key, passphrase = tmp_path / "key", tmp_path / "passphrase"
    key.write_bytes(pgp_secret(PgpKind.ED25519, passphrase=" two\n"))
    given = ["--pgp-key-file", str(key), "--pgp-passphrase-file", str(passphrase)]
    passphrase.write_bytes(b" two\n\r\n")
    assert world.attest(*given).receipt["status"] == "created"
    passphrase.write_bytes(b"\xff")
    assert "UTF-8" in world.attest(*given).error["message"]


def test_an_interrupted_run(kms_world: World) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    kms_world.emulator.fail("GetAttestor=UNAVAILABLE")
    kms_world.clock.when_it_passes = interrupt
    assert kms_world.run("attest", IMAGE, "--attestor", ATTESTOR).code == 130
