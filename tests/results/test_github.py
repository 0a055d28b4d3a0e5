"""What GitHub's runner makes of a report."""

from __future__ import annotations

import html
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from step.errors import BadInput, Refused
from step.events import Failure
from step.model.names import AttestorName
from step.results import github
from step.results.result import Result
from step.results.text import one_line
from tests import runner
from tests.results.reports import (
    APP,
    CREATED,
    DRY_RUN,
    EXISTING,
    HOSTILE,
    REFUSED,
    UNUSABLE,
    WEB,
    failure,
    hostile_reports,
    report,
)


def test_outputs() -> None:
    actual = github.outputs(report(CREATED, EXISTING))
    receipts = json.loads(actual.pop("receipts"))
    assert [each["image"] for each in receipts["receipts"]] == [str(APP), str(WEB)]
    assert actual == {
        "image": str(APP),
        "images": f"{APP}\n{WEB}",
        "digest": str(APP.digest),
        "attestations": "projects/p/occurrences/1\no/2",
        "public_key_ids": "//cloudkms.googleapis.com/v1/projects/p/k/1\nKEY",
        "status": "created",
        "emulator": "",
    }


def test_outputs_when_nothing_was_attested() -> None:
    actual = github.outputs(report(UNUSABLE))
    assert json.loads(actual.pop("receipts"))["errors"][0]["exit_code"] == 2
    assert actual.pop("status") == "failed"
    assert set(actual.values()) == {""}


def test_a_dry_run_has_no_attestations() -> None:
    actual = github.outputs(report(DRY_RUN))
    assert (actual["image"], actual["attestations"]) == (str(WEB), "")


def test_one_value_is_one_line_and_given_once() -> None:
    split = replace(CREATED, public_key_id="a\nb", occurrence="c\r\n::d")
    actual = github.outputs(report(split, EXISTING, EXISTING))
    assert actual["public_key_ids"] == "a\\x0ab\nKEY"
    assert actual["attestations"] == "c\\x0d\\x0a::d\no/2"
    assert actual["images"] == f"{APP}\n{WEB}"


def test_an_output_stays_under_the_runner_s_limit() -> None:
    actual = github.outputs(report(*[CREATED] * 600))["receipts"]
    assert len(actual) <= github.RECEIPTS_LIMIT
    assert "payload" not in actual


def test_publish_appends(tmp_path: Path) -> None:
    output, summary = tmp_path / "output", tmp_path / "summary"
    output.write_text("before=1\n")
    summary.write_text("before\n")
    files = {"GITHUB_OUTPUT": str(output), "GITHUB_STEP_SUMMARY": str(summary)}
    github.publish(report(CREATED), files)
    github.publish(report(EXISTING), files)
    assert runner.outputs(output.read_text()) == {"before": "1"} | github.outputs(report(EXISTING))
    delimiters = set(re.findall("<<(.*)", output.read_text()))
    assert len(delimiters) == 2
    assert b"\r" not in output.read_bytes()
    text = summary.read_text()
    assert text.startswith("before\n### Binary Authorization: created")
    assert text.endswith(github.summary(report(EXISTING)))


def test_publish_without_files_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    github.publish(report(CREATED), {"GITHUB_OUTPUT": ""})
    assert list(tmp_path.iterdir()) == []


def test_publish_counts_what_is_in_the_summary_already(tmp_path: Path) -> None:
    summary = tmp_path / "summary"
    summary.write_bytes(b"x" * (github.SUMMARY_LIMIT - 600))
    github.publish(report(*[CREATED] * 10), {"GITHUB_STEP_SUMMARY": str(summary)})
    assert github.SUMMARY_LIMIT - 600 < summary.stat().st_size <= github.SUMMARY_LIMIT
    assert "more</td>" in summary.read_text()
    github.publish(report(*[CREATED] * 10), {"GITHUB_STEP_SUMMARY": str(summary)})
    assert summary.stat().st_size <= github.SUMMARY_LIMIT


@pytest.mark.parametrize("variable", ["GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY"])
def test_a_file_that_cannot_be_written_is_named(variable: str, tmp_path: Path) -> None:
    path = str(tmp_path / "no" / "file")
    with pytest.raises(BadInput) as caught:
        github.publish(report(CREATED), {variable: path})
    assert repr(path) in caught.value.message


def test_a_value_cannot_end_itself() -> None:
    with pytest.raises(ValueError, match="holds its own delimiter"):
        github.heredoc("image", "a\nEND\nevil=1", "END")


@given(st.lists(HOSTILE, min_size=1, max_size=4))
def test_any_value_returns_from_the_file(values: list[str]) -> None:
    text = "".join(github.heredoc(f"n{i}", value, "END-1") for i, value in enumerate(values))
    assert runner.outputs(text) == {f"n{i}": value for i, value in enumerate(values)}


@given(hostile_reports())
def test_hostile_outputs(hostile: Result) -> None:
    expected = github.outputs(hostile)
    text = "".join(github.heredoc(*each, "END-1") for each in expected.items())
    assert runner.outputs(text) == expected
    assert json.loads(expected["receipts"])


def test_annotations() -> None:
    assert github.annotate(report(CREATED)) == ""
    commands = runner.commands(github.annotate(report(REFUSED, UNUSABLE)))
    assert [command.name for command in commands] == ["error", "error"]
    assert commands[0].properties == {"title": f"Not attested: {WEB}"}
    assert commands[0].data == "the attestor says no. Register the key."
    assert commands[1].properties == {"title": "Not attested"}
    assert commands[1].data == "no image was given"


def test_a_title_cannot_end_itself() -> None:
    hostile = Failure(None, AttestorName("p", "a,file=b::c%0A"), Refused("no"))
    (command,) = runner.commands(github.annotate(report(hostile)))
    assert command.properties == {"title": "Not attested: projects/p/attestors/a,file=b::c%0A"}
    assert command.data == "no"


@given(hostile_reports())
def test_hostile_annotations(hostile: Result) -> None:
    commands = runner.commands(github.annotate(hostile))
    assert [command.name for command in commands] == ["error"] * len(hostile.failures)
    for command, each in zip(commands, hostile.failures, strict=True):
        assert set(command.properties) == {"title"}
        assert command.data.startswith(one_line(each.error.message).rstrip("#: "))


class Cells(HTMLParser):
    """The tags of a summary, and the text between them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.cells: list[str] = []
        self._open = False
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        assert attrs == []
        if tag == "td":
            self.cells.append("")
            self._open = True

    def handle_endtag(self, tag: str) -> None:
        self._open = self._open and tag != "td"

    def handle_data(self, data: str) -> None:
        if self._open:
            self.cells[-1] += data


def test_summary() -> None:
    text = github.summary(report(CREATED, REFUSED))
    assert text.startswith("### Binary Authorization: failed\n\n<table>\n")
    assert Cells(text).cells == [
        str(WEB),
        "projects/p/attestors/prod",
        "the attestor says no (exit code 3)",
        "Register the key.",
        str(APP),
        "projects/p/attestors/qa",
        "created, visible after 3.2s",
        "projects/p/occurrences/1",
        "//cloudkms.googleapis.com/v1/projects/p/k/1",
    ]


@given(hostile_reports())
def test_a_hostile_summary_is_text_in_cells(hostile: Result) -> None:
    text = github.summary(hostile)
    tables = text.split("\n\n")[1:-1]
    assert all(table.startswith("<table>\n") for table in tables)
    assert all(table.endswith("</table>") for table in tables)
    actual = Cells(text)
    assert actual.tags <= {"table", "tr", "th", "td", "code"}
    assert len(actual.cells) == 4 * len(hostile.failures) + 5 * len(hostile.rows)
    ids = actual.cells[4 * len(hostile.failures) :][4::5]
    assert ids == [one_line(key_id) for view in hostile.views for _, key_id in view.evidence]


@given(st.integers(-10, 4000))
def test_a_summary_fits_and_counts_what_it_leaves_out(limit: int) -> None:
    text = github.summary(report(*[CREATED] * 3, *[failure(Refused("é" * 99))] * 3), limit)
    assert len(text.encode()) <= max(limit, 0)
    if text:
        left_out = sum(map(int, re.findall(r"and (\d+) more", text)))
        assert text.count("<tr><td><code>") + left_out == 6
        assert html.unescape(text).count("<table>") == text.count("</table>") == 2
