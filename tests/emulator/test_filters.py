"""The filter language of lists, against a second reading of the same expressions."""

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from step.emulator.filters import Filter, Value
from step.emulator.refusal import Refusal

FIELDS: dict[str, Value] = {
    "resourceUrl": "https://example.com/a@sha256:01",
    "kind": "ATTESTATION",
    "noteId": 'quote " and \\ backslash',
    "createTime": datetime(2026, 1, 2, tzinfo=UTC),
}


def matches(text: str) -> bool:
    return Filter.parse(text, FIELDS).matches(FIELDS)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", True),
        ("   ", True),
        ('kind="ATTESTATION"', True),
        ("kind = 'ATTESTATION'", True),
        ("kind=ATTESTATION", True),
        ('kind!="ATTESTATION"', False),
        ('kind="attestation"', False),
        ('kind:"TEST"', True),
        ("kind:*", True),
        ('kind<"B"', True),
        ('kind>="B"', False),
        ('resource_url="https://example.com/a@sha256:01"', True),
        ("resourceUrl:sha256", True),
        ('has_prefix(resourceUrl, "https://example.com/")', True),
        ('has_prefix(resource_url,"example.com/")', False),
        ('has_suffix(resourceUrl, "sha256:01")', True),
        ('has_suffix(resourceUrl, "sha256:0")', False),
        (r'noteId="quote \" and \\ backslash"', True),
        ('NOT kind="BUILD"', True),
        ('-kind="ATTESTATION"', False),
        ('-(kind="BUILD")', True),
        ('createTime>"2026-01-01T00:00:00Z"', True),
        ('create_time<="2026-01-02T00:00:00+00:00"', True),
        ('createTime="2026-01-02T01:00:00+01:00"', True),
        ('createTime!="2026-01-02T00:00:00"', False),
        ("createTime>2026-01-02", False),
        ('createTime:"2026-01-02"', True),
        ('kind="ATTESTATION" resourceUrl:"sha256"', True),
        ('kind="ATTESTATION" resourceUrl:"sha512"', False),
        ('kind="ATTESTATION" (resourceUrl:"sha512" OR noteId:"quote")', True),
        # OR binds tighter than AND and than juxtaposition.
        ('kind="BUILD" AND kind="BUILD" OR kind="ATTESTATION"', False),
        ('kind="ATTESTATION" OR kind="BUILD" AND kind="BUILD"', False),
        ('kind="ATTESTATION" OR kind="BUILD" kind="BUILD"', False),
        # What gcloud sends.
        (
            '(has_prefix(resourceUrl, "https://example.com")) AND '
            '((kind = "BUILD") OR (kind = "ATTESTATION")) AND '
            '((resourceUrl = "https://example.com/a@sha256:01"))',
            True,
        ),
    ],
)
def test_examples(text: str, expected: bool) -> None:
    assert matches(text) is expected


@pytest.mark.parametrize(
    "text",
    [
        "kind",
        "kind=",
        '="x"',
        'kind="x',
        "kind=AND",
        "AND",
        'NOT NOT kind="x"',
        'kind="x" AND',
        'AND kind="x"',
        'kind="x" OR',
        '(kind="x"',
        'kind="x")',
        "()",
        'unknown="x"',
        'has_prefix(kind "x")',
        'has_prefix("kind", "x")',
        'has_prefix(unknown, "x")',
        'has_prefix(kind, "x"',
        'ends_with(kind, "x")',
        'createTime>"yesterday"',
        'kind="x" ; kind="y"',
        "(" * 5000 + 'kind="x"' + ")" * 5000,
    ],
)
def test_what_is_no_filter_is_refused(text: str) -> None:
    with pytest.raises(Refusal, match="Invalid filter") as refused:
        matches(text)
    assert refused.value.code is grpc.StatusCode.INVALID_ARGUMENT


@given(st.text(alphabet='kind=":()-,ANDORNOT_prefix haste*\\<>!\n', max_size=60))
def test_any_text_is_a_filter_or_refused(text: str) -> None:
    with suppress(Refusal):
        assert matches(text) in (True, False)


def quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


VALUES = st.text(alphabet='ab"\\ (', max_size=3)
FIELD = st.sampled_from(["left", "right"])
Row = dict[str, str]
Pair = tuple[str, Callable[[Row], bool]]
"""A filter's text, and what it means."""

PLAIN: dict[str, Callable[[str, str], bool]] = {
    "=": lambda value, wanted: value == wanted,
    "!=": lambda value, wanted: value != wanted,
    "<": lambda value, wanted: value < wanted,
    "<=": lambda value, wanted: value <= wanted,
    ">": lambda value, wanted: value > wanted,
    ">=": lambda value, wanted: value >= wanted,
    ":": lambda value, wanted: wanted in value,
}


def _comparison(field: str, operator: str, value: str, space: str) -> Pair:
    text = f"{field}{space}{operator}{space}{quoted(value)}"
    return text, lambda row: PLAIN[operator](row[field], value)


def _function(function: str, field: str, value: str) -> Pair:
    def means(row: Row) -> bool:
        cut = len(row[field]) - len(value)
        part = row[field][: len(value)] if function == "has_prefix" else row[field][max(cut, 0) :]
        return part == value

    return f"{function}({field}, {quoted(value)})", means


def _not(inner: Pair, word: str) -> Pair:
    return f"{word}({inner[0]})", lambda row: not inner[1](row)


def _all(parts: list[Pair], glue: str) -> Pair:
    text = glue.join(f"({part})" for part, _ in parts)
    return text, lambda row: all(means(row) for _, means in parts)


def _any(parts: list[Pair]) -> Pair:
    text = " OR ".join(f"({part})" for part, _ in parts)
    return text, lambda row: any(means(row) for _, means in parts)


def _tight(first: Pair, second: Pair, third: Pair) -> Pair:
    """Without parentheses: the OR belongs together."""
    text = f"({first[0]}) AND ({second[0]}) OR ({third[0]})"
    return text, lambda row: first[1](row) and (second[1](row) or third[1](row))


EXPRESSIONS: st.SearchStrategy[Pair] = st.recursive(
    st.builds(_comparison, FIELD, st.sampled_from(list(PLAIN)), VALUES, st.sampled_from(["", " "]))
    | st.builds(_function, st.sampled_from(["has_prefix", "has_suffix"]), FIELD, VALUES),
    lambda inner: (
        st.builds(_not, inner, st.sampled_from(["NOT ", "-"]))
        | st.builds(
            _all, st.lists(inner, min_size=1, max_size=3), st.sampled_from([" AND ", " ", "\n"])
        )
        | st.builds(_any, st.lists(inner, min_size=1, max_size=3))
        | st.builds(_tight, inner, inner, inner)
    ),
    max_leaves=8,
)


@given(EXPRESSIONS, VALUES, VALUES)
def test_an_expression_means_what_it_says(pair: Pair, left: str, right: str) -> None:
    text, means = pair
    row = {"left": left, "right": right}
    assert Filter.parse(text, row).matches(row) is means(row)
