"""The rules of the house that neither the linter nor the import contracts can see."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.project.tracked import ROOT, tracked, tracked_texts


def modules(folder: str) -> list[Path]:
    """The modules in a folder, as far as they are tracked."""
    return [ROOT / name for name in tracked() if re.fullmatch(rf"{folder}/.+\.py", name)]


def shown(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def outside(*packages: str) -> list[Path]:
    """Sources of `step` that are in none of these packages."""
    return [path for path in modules("step") if path.relative_to(ROOT).parts[1] not in packages]


def matches(pattern: str) -> list[str]:
    return [
        f"{name}: {match.group()}"
        for name, text in tracked_texts().items()
        for match in re.finditer(pattern, text, flags=re.MULTILINE)
    ]


def dotted(node: ast.expr) -> str:
    """`a.b.c` of an expression that is nothing but names, else an empty string."""
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=value, attr=attr):
            return f"{dotted(value)}.{attr}"
        case _:
            return ""


def used(path: Path) -> Iterator[str]:
    """Every dotted name that a module reads, calls or imports from another."""
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Name() | ast.Attribute():
                yield dotted(node)
            case ast.ImportFrom(module=str(module), names=names):
                yield from (f"{module}.{alias.name}" for alias in names)


def uses(paths: list[Path], pattern: str) -> list[str]:
    assert paths
    return [
        f"{shown(path)}: {name}"
        for path in paths
        for name in used(path)
        if re.fullmatch(pattern, name)
    ]


def test_no_file_is_longer_than_a_reader_can_hold() -> None:
    lengths = {
        shown(path): len(path.read_text().splitlines())
        for path in [*modules("step"), *modules("tests")]
    }
    assert {name: length for name, length in lengths.items() if length > 500} == {}


def test_no_module_is_named_for_having_no_subject() -> None:
    vague = {"base", "common", "helpers", "manager", "misc", "utils"}
    assert [shown(path) for path in modules("step") if vague & {path.stem, path.parent.name}] == []


def test_nothing_is_left_for_later() -> None:
    assert matches(r"\b(?:TO" + r"DO|FIX" + r"ME|X" + r"XX)\b") == []


def test_no_path_of_one_machine_is_in_a_file() -> None:
    assert matches(r"(?<![\w.}-])/(?:root|work|home/(?!runner\b)\w+|Users/\w+)(?![\w-])") == []


def test_no_file_says_which_registry_serves_the_packages() -> None:
    """It is the installer's choice, on a machine that may reach only its own mirror."""
    # Backwards, so that the names themselves stand nowhere.
    names = "|".join(name[::-1] for name in ("ipyp", "detsohnohtyp", "sjmpn", "naibed.bed"))
    assert matches(rf"\b(?:{names})\.org\b") == []


def test_no_private_key_is_in_a_file() -> None:
    """Its first line alone may be: code has to recognise it."""
    assert matches(r"-----BEGIN [A-Z ]*PRIVATE KEY[A-Z ]*-----\n(?:.*\n){0,5}?[\w+/=]{40,}") == []


def test_the_environment_is_read_by_the_command_line_only() -> None:
    assert uses(outside("cli"), r"os\.(?:environb?|getenvb?|putenv|unsetenv)") == []


def test_only_the_command_line_and_results_talk_to_the_terminal() -> None:
    assert uses(outside("cli", "results"), r"print|input|sys\.(?:stdin|stdout|stderr)") == []


def test_only_the_command_line_ends_the_process() -> None:
    paths = [path for path in outside("cli") if path.name != "__main__.py"]
    assert uses(paths, r"exit|quit|sys\.exit|os\._exit|SystemExit") == []


def test_the_model_opens_nothing_and_has_no_clock() -> None:
    """The imports of the model are a contract of import-linter; these need none."""
    model = modules("step/model")
    clock = r"(?:.+\.)?(?:datetime|date)\.(?:now|utcnow|today)"
    assert uses(model, rf"open|exec|eval|compile|__import__|breakpoint|globals|{clock}") == []


def test_only_the_clock_waits() -> None:
    """The emulator has its own, since it shares nothing with the rest."""
    paths = [path for path in outside("emulator") if shown(path) != "step/clock.py"]
    assert uses(paths, r"time\.(?:sleep|monotonic|time)|asyncio\.sleep") == []


# What says nothing of a thing, or something of its own here: docs/architecture.md has the words.
VAGUE = {"edge", "found", "judge", "manner", "one", "place", "terms", "work"}


def named(path: Path) -> Iterator[str]:
    """Whatever a module gives a name to: classes, functions, parameters, variables and fields."""
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.arg(arg=name):
                yield name
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                yield name
            case ast.alias(asname=str(name)):
                yield name


def test_nothing_has_a_name_that_says_nothing() -> None:
    vague = [
        f"{shown(path)}: {name}"
        for path in modules("step")
        for name in [path.stem, path.parent.name, *named(path)]
        if name.strip("_").lower() in VAGUE
    ]
    assert vague == []


def test_no_test_leans_on_the_tests_of_another_folder() -> None:
    """What several need is beside the folders."""
    folders = {path.relative_to(ROOT).parts[1] for path in modules(r"tests/\w+")} - {"vectors"}
    leaning = [
        name
        for folder in sorted(folders)
        for name in uses(modules(f"tests/{folder}"), rf"tests\.(?!{folder}\.)\w+\.\w+\..+")
        if name.split("tests.")[-1].split(".")[0] in folders
    ]
    assert leaning == []


def test_no_test_reaches_for_what_is_private() -> None:
    """Neither by name nor by patching: what a test needs is worth being public."""
    assert uses(modules("tests"), r"step\.(?:\w+\.)*_(?!_)\w+") == []
    patched = matches(r"setattr\([^)]*?[\"\s.]_(?!_)\w+\"")
    assert [line for line in patched if line.startswith("tests/")] == []
