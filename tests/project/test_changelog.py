"""CHANGELOG.md keeps the form of https://keepachangelog.com/en/1.1.0/."""

import re
from pathlib import Path

from packaging.version import Version

import step

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "CHANGELOG.md").read_text()
RELEASED = re.findall(r"^## \[(\d+\.\d+\.\d+)\] - \d{4}-\d{2}-\d{2}$", TEXT, flags=re.MULTILINE)


def test_every_section_is_unreleased_or_a_dated_version() -> None:
    sections = re.findall(r"^## .*$", TEXT, flags=re.MULTILINE)
    assert sections[0] == "## [Unreleased]"
    assert len(sections) == 1 + len(RELEASED)


def test_versions_go_down_from_this_one() -> None:
    versions = [Version(step.__version__), *map(Version, RELEASED)]
    assert versions == sorted(versions, reverse=True)


def test_changes_are_of_the_six_kinds() -> None:
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert set(re.findall(r"^### (.*)$", TEXT, flags=re.MULTILINE)) <= kinds
