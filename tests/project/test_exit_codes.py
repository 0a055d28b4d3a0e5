"""docs/exit-codes.md is public, and is what the program does."""

import re
from pathlib import Path

from step.errors import ExitCode

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_is_the_enumeration() -> None:
    page = (ROOT / "docs" / "exit-codes.md").read_text()
    rows = re.findall(r"^\| *`?(\d+)`? *\| *(.*?) *\|", page, flags=re.MULTILINE)
    assert [(int(code), meaning) for code, meaning in rows] == [
        (code.value, code.meaning) for code in ExitCode
    ]
