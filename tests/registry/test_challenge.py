"""WWW-Authenticate, as registries write it and as anybody might."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from step.registry.challenge import Basic, Bearer, choose, read_challenges

HUB = (
    'Bearer realm="https://auth.docker.io/token",service="registry.docker.io",'
    'scope="repository:library/nginx:pull"'
)
TOKEN = Bearer(
    "https://auth.docker.io/token", "registry.docker.io", "repository:library/nginx:pull"
)
NAMES = st.from_regex(r"[A-Za-z][A-Za-z0-9_-]{0,9}", fullmatch=True)
# What a header can hold at all.
TEXTS = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=60)


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        (HUB, TOKEN),
        (HUB.replace(",", " , ").replace("Bearer", "bEARER"), TOKEN),
        (f'Basic realm="a", {HUB}', TOKEN),
        (f'{HUB}, Basic realm="a"', TOKEN),
        (f"Negotiate, {HUB}", TOKEN),
        (f"Negotiate YII+/a==, {HUB}", TOKEN),
        (HUB.replace('"', ""), TOKEN),
        ('Bearer realm="https://a/t"', Bearer("https://a/t", "", "")),
        (r'Bearer realm="https://a/\"t\\"', Bearer('https://a/"t\\', "", "")),
        ('Bearer realm="https://a/t",realm="https://b/t"', Bearer("https://a/t", "", "")),
        (
            'Bearer realm="https://a/t", scope="a:b:pull,push"',
            Bearer("https://a/t", "", "a:b:pull,push"),
        ),
        ("Basic", Basic()),
        ('Basic realm="Registry Realm", charset="UTF-8"', Basic()),
        ("Bearer", None),
        ('Bearer realm=""', None),
        ('Digest realm="https://a/t"', None),
        ("", None),
        (", ,", None),
        ('"Basic"', None),
        ('Bearer realm="https://a/t', None),
    ],
)
def test_what_a_registry_asks_for(header: str, wanted: Bearer | Basic | None) -> None:
    assert choose(header) == wanted


@given(
    st.lists(
        st.tuples(NAMES, st.dictionaries(NAMES.map(str.lower), TEXTS, min_size=1, max_size=4)),
        max_size=4,
    )
)
def test_what_is_written_is_read(challenges: list[tuple[str, dict[str, str]]]) -> None:
    def quoted(text: str) -> str:
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'

    header = ", ".join(
        f"{scheme} " + ", ".join(f"{name}={quoted(value)}" for name, value in parameters.items())
        for scheme, parameters in challenges
    )
    wanted = tuple((scheme.lower(), parameters) for scheme, parameters in challenges)
    assert read_challenges(header) == wanted


@given(st.text() | st.text(alphabet='Bearsicm =",\\/:t'))
def test_any_text_is_read_without_a_surprise(header: str) -> None:
    assert isinstance(choose(header), Bearer | Basic | None)
    for _, parameters in read_challenges(header):
        assert all(name == name.lower() for name in parameters)
