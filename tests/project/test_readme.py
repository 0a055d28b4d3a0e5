"""README.md says what the program does."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

import step.cli
from step.errors import ExitCode
from tests.project.tracked import tracked
from tests.world import DIGEST, PROJECT, World

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()


def options(verb: str) -> list[Any]:
    command: Any = typer.main.get_command(step.cli.app)
    shown = [
        param for param in command.commands[verb].params if not getattr(param, "hidden", False)
    ]
    return [each for each in shown if each.name != "help"]


def table(verb: str = "attest") -> str:
    """The options as README has them; on a difference, this is what belongs there."""
    rows = ["| option | meaning |", "|---|---|"]
    for option in options(verb):
        flags = "/".join([*option.opts, *option.secondary_opts])
        default = "" if option.default in (None, False) else f" Default: `{_default(option)}`."
        named = f"`{flags}`" if flags.startswith("--") else "`IMAGE…`, `BINAUTHZ_IMAGES`"
        rows.append(f"| {named} | {option.help}{default} |")
    return "\n".join(rows)


def _default(option: Any) -> str:
    if isinstance(option.default, bool):
        return str(option.opts[0]).removeprefix("--")
    return str(getattr(option.default, "value", option.default))


@pytest.mark.parametrize("verb", ["attest", "reattest"])
def test_the_table_of_options_is_that_of_the_program(verb: str) -> None:
    [block] = re.findall(rf"<!-- options of {verb} -->\n(.*?)\n?<!-- end -->", README, re.DOTALL)
    assert block == table(verb)


def test_every_verb_has_its_section() -> None:
    command: Any = typer.main.get_command(step.cli.app)
    assert re.findall(r"^## `(\w+)`$", README, re.MULTILINE) == list(command.commands)


def test_every_link_to_a_file_leads_somewhere() -> None:
    for page in [ROOT / name for name in tracked() if re.fullmatch(r"(docs/.+|[^/]+)\.md", name)]:
        for target in re.findall(r"\]\((?!https?://|#)([^)#]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_promised_commands_are_targets_of_make() -> None:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"^\$ make (\w+)$", README, re.MULTILINE)) == {"demo", "test"} <= targets


def test_the_order_of_the_exit_codes_is_what_the_page_says() -> None:
    from step.errors import StepError
    from step.results.result import worst

    page = (ROOT / "docs" / "exit-codes.md").read_text()
    [order] = re.findall(r"worst of its errors: (\d) before ([\d, and]+)\.", " ".join(page.split()))
    codes = [int(code) for code in re.findall(r"\d", " ".join(order))]
    kinds = {kind.exit_code: kind for kind in _kinds(StepError)}
    for better, worse in zip(codes[1:], codes, strict=False):
        pair = [kinds[ExitCode(code)]("m") for code in (better, worse) if ExitCode(code) in kinds]
        if len(pair) == 2:
            assert worst(error.exit_code for error in pair) == worse


def _kinds(kind: type[Any]) -> list[type[Any]]:
    return [kind, *(actual for sub in kind.__subclasses__() for actual in _kinds(sub))]


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


def test_the_first_screen_is_what_to_paste() -> None:
    headings = re.findall(r"^##+ (.*)$", README, re.MULTILINE)
    assert headings[:4] == ["Use it", "GitHub Actions", "Cloud Build", "Anywhere else"]


def test_what_to_try_by_oneself_works() -> None:
    """The first block, which needs no gcloud; tests/real has the other one."""
    script = blocks("sh")[0].replace(".venv/bin/binauthz-attest", f"{sys.executable} -m step")
    done = subprocess.run(
        ["sh", "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    [image] = re.findall(r"IMAGE=(\S+)", script)
    created, admitted = re.findall(r"^(\w+) (.*)$", done.stdout, re.MULTILINE)
    assert (created, admitted) == (("created", image), ("admitted", image))


def test_the_step_for_github_has_inputs_and_outputs_that_exist() -> None:
    action = yaml.safe_load((ROOT / "action.yml").read_text())
    workflow = yaml.safe_load(blocks("yaml")[0])
    [job] = workflow["jobs"].values()
    [step] = [each for each in job["steps"] if "binauthz-attest" in each["uses"]]
    assert set(step["with"]) <= set(action["inputs"])
    named = re.findall(r"steps\.attest\.outputs\.(\w+)", blocks("yaml")[0])
    assert named
    assert set(named) <= set(action["outputs"])


def test_the_step_for_cloud_build_attests(make_world: Callable[..., World], tmp_path: Path) -> None:
    build = yaml.safe_load(blocks("yaml")[1])
    world = make_world()
    digest = tmp_path / "digest"
    digest.write_text(DIGEST)
    known = build["substitutions"] | {"PROJECT_ID": PROJECT}
    arguments = [
        re.sub(r"\$(\w+)", lambda match: known[match[1]], arg).replace(
            "/workspace/digest", str(digest)
        )
        for arg in build["steps"][1]["args"]
    ]
    result = world.run(*arguments)
    assert result.code == 0, result.err
    assert f"created {known['_IMAGE']}@{DIGEST}" in result.out
