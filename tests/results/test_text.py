"""Untrusted text made harmless."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from step.results.text import ascii_line, one_line
from tests import runner
from tests.results.reports import HOSTILE, PIECES


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("gcr.io/p/i@sha256:ab", "gcr.io/p/i@sha256:ab"),
        ("projects/p::x", "projects/p::x"),
        ("é 日本 … ¬", "é 日本 … ¬"),
        ("a\nb\r\tc", r"a\x0ab\x0d\x09c"),
        ("\x1b[31mred\x9b0m", r"\x1b[31mred\x9b0m"),
        ("a\u202eb\u2028c\ud800", r"a\u202eb\u2028c\ud800"),
        ("\U000e0001", r"\U000e0001"),
        ("e\u0301\u034f\u115f", r"e\u0301\u034f\u115f"),
        ("::error::x", r"\x3a:error::x"),
        ("a  ::error::x", r"a  \x3a:error::x"),
        (":::", r"\x3a::"),
        ("##[error]x ###[b]", r"\x23#[error]x #\x23#[b]"),
        ("# [x] #[y]", "# [x] #[y]"),
    ],
)
def test_one_line(text: str, shown: str) -> None:
    assert one_line(text) == shown


def test_ascii() -> None:
    assert ascii_line("wait … é €\U0001f600\n") == r"wait ... \xe9 \u20ac\U0001f600\x0a"


@given(HOSTILE | st.text(), st.sampled_from(["", " ", "  hint: ", "\t"]))
@example("".join(PIECES), "")
def test_no_text_is_a_command(text: str, label: str) -> None:
    for shown in (one_line(text), ascii_line(text)):
        assert shown.isprintable()
        assert runner.commands(label + shown) == []
        folded = shown.replace(" ", "\n")
        assert runner.commands(folded) == []


def test_the_model_of_the_runner_sees_commands() -> None:
    log = "x\r::Error title=a%2Cb,file=c::m%0A%25\n  ::add-mask::y\n##[set-output name=a]b\n::no::"
    assert runner.commands(log) == [
        runner.Command("error", "m\n%", {"title": "a,b", "file": "c"}),
        runner.Command("add-mask", "y"),
        runner.Command("set-output", "b"),
    ]
    assert runner.commands("\u200b:\u034f:error::x")
