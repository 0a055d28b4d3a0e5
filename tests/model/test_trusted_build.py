"""Which builds are trusted: every condition, in one record, value for value."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from step.errors import BadInput
from step.model.image import Digest
from step.model.provenance import BuildRecord, TrustedBuild, shown
from tests.builds import HEX, OTHER, SOURCE, TRIGGER, TRIGGER_URI, V1, WORKER

DIGEST = Digest(HEX)
RECORD = BuildRecord.from_slsa_v1(V1)
TRUSTED = TrustedBuild((WORKER,), ("my-project",), (TRIGGER,), (SOURCE,))


def test_a_record_with_every_value_is_trusted() -> None:
    assert TRUSTED.unmet(RECORD, DIGEST) is None


@pytest.mark.parametrize(
    "trusted",
    [
        TrustedBuild(builders=("other", WORKER)),
        TrustedBuild(projects=("other", "my-project")),
        TrustedBuild(projects=("123456789012",)),
        TrustedBuild(triggers=("other", TRIGGER)),
        TrustedBuild(triggers=(TRIGGER_URI,)),
        TrustedBuild(sources=("https://github.com/you/app", SOURCE)),
        TrustedBuild(sources=(f"git+{SOURCE}.git",)),
        TrustedBuild(sources=("https://GitHub.com/me/app/",)),
    ],
)
def test_one_of_a_list_is_enough(trusted: TrustedBuild) -> None:
    assert trusted.unmet(RECORD, DIGEST) is None


@pytest.mark.parametrize(
    ("trusted", "message"),
    [
        (TrustedBuild(builders=(f"{WORKER}@v0.3",)), f"its builder '{WORKER}' is not trusted"),
        (TrustedBuild(builders=(WORKER[:-1],)), "its builder"),
        (TrustedBuild(builders=(WORKER.lower(),)), "its builder"),
        (TrustedBuild(projects=("my-projec",)), "its project 'my-project', '123456789012' is not"),
        (TrustedBuild(projects=("my-project-2",)), "its project"),
        (TrustedBuild(triggers=("sample-trigger",)), "its trigger"),
        (TrustedBuild(triggers=(TRIGGER[:8],)), "its trigger"),
        (TrustedBuild(triggers=(TRIGGER_URI.replace("us-west1", "global"),)), "its trigger"),
        (TrustedBuild(sources=("https://github.com/me",)), f"its source '{SOURCE}' is not trusted"),
        (TrustedBuild(sources=("https://github.com/me/ap",)), "its source"),
        (TrustedBuild(sources=("https://github.com/me/app2",)), "its source"),
        (TrustedBuild(sources=("https://github.com/me/App",)), "its source"),
        (TrustedBuild(sources=("https://github.com.evil.example/me/app",)), "its source"),
        (replace(TRUSTED, builders=("other",)), "its builder"),
        (replace(TRUSTED, projects=("other",)), "its project"),
        (replace(TRUSTED, triggers=("other",)), "its trigger"),
        (replace(TRUSTED, sources=("https://github.com/you/app",)), "its source"),
    ],
)
def test_another_value_is_not_trusted(trusted: TrustedBuild, message: str) -> None:
    unmet = trusted.unmet(RECORD, DIGEST)
    assert unmet is not None
    assert unmet.startswith(message)


@pytest.mark.parametrize(
    ("empty", "message"),
    [
        ({"builder": ""}, "it does not say its builder"),
        ({"projects": ()}, "it does not say its project"),
        ({"triggers": ()}, "it does not say its trigger"),
        ({"sources": ()}, "it does not say its source"),
    ],
)
def test_a_value_that_is_missing_is_not_trusted(empty: dict[str, Any], message: str) -> None:
    assert TRUSTED.unmet(replace(RECORD, **empty), DIGEST) == message


def test_everything_that_was_fetched_has_to_be_trusted() -> None:
    record = replace(RECORD, sources=(SOURCE, "https://github.com/you/lib"))
    assert TRUSTED.unmet(record, DIGEST)
    both = replace(TRUSTED, sources=(SOURCE, "https://github.com/you/lib"))
    assert both.unmet(record, DIGEST) is None


def test_all_that_is_missing_is_told_in_one_line() -> None:
    record = BuildRecord((DIGEST,), "x\n" * 500, ("y",), (), ("https://t0ken@h.example/a\n",))
    unmet = TRUSTED.unmet(record, DIGEST)
    assert unmet is not None
    assert [part.split(" '")[0] for part in unmet.split("; ")] == [
        "its builder",
        "its project",
        "it does not say its trigger",
        "its source",
    ]
    assert "\n" not in unmet
    assert "t0ken" not in unmet
    assert len(unmet) < 600


def test_what_others_wrote_is_shown_on_one_short_line() -> None:
    assert shown("a\nb") == r"'a\nb'"
    assert len(shown("a" * 500)) == 122
    assert shown("https://user:to@ken@h/x") == "'https://h/x'"


def test_a_record_is_described_by_what_it_says() -> None:
    assert str(RECORD) == (
        f"builder '{WORKER}', project 'my-project', '123456789012', trigger '{TRIGGER}', "
        f"source '{SOURCE}'"
    )
    assert str(BuildRecord((DIGEST,), "b", sources=("a", "b", "c", "d", "e"))) == (
        "builder 'b', source 'a', 'b', 'c' and 2 more"
    )


def test_nothing_trusted_is_bad_input() -> None:
    with pytest.raises(BadInput, match="says nothing that is trusted") as caught:
        TrustedBuild()
    assert "--trusted-source" in caught.value.hint


@pytest.mark.parametrize(
    ("trusted", "message"),
    [
        ({"builders": ("",)}, "'' is not the id of a builder"),
        ({"builders": (WORKER, " ")}, "' ' is not the id of a builder"),
        ({"builders": (f"{WORKER}\n",)}, "not the id of a builder"),
        ({"projects": ("",)}, "'' is not a project id"),
        ({"projects": ("my-project", "My Project")}, "not a project id"),
        ({"triggers": ("",)}, "'' is not the id of a trigger"),
        ({"triggers": (TRIGGER, "*")}, "not the id of a trigger"),
        ({"triggers": (f"projects/0/locations//triggers/{TRIGGER}",)}, "not the id of a trigger"),
        *(
            ({"sources": (SOURCE, source)}, "--trusted-source is not the address of a repository")
            for source in (
                "",
                " ",
                "me/app",
                "github.com/me/app",
                "http://github.com/me/app",
                "https://github.com",
                "https://github.com/",
                "https://t0ken@github.com/me/app",
                "https://github.com/me/app@refs/heads/main",
                "git+https://github.com/me/app@refs/heads/main",
                "ssh://git:t0ken@github.com/me/app",
                "https://github.com/me/*",
                "https://github.com/me/app\n",
                "gs://bucket/source.tgz",
                "projects/p/locations/l/connections/c",
            )
        ),
    ],
)
def test_an_entry_that_no_record_can_have_is_bad_input(
    trusted: dict[str, tuple[str, ...]], message: str
) -> None:
    with pytest.raises(BadInput, match=message) as caught:
        TrustedBuild(**trusted)
    assert "t0ken" not in caught.value.message + caught.value.hint


@pytest.mark.parametrize(
    "source",
    [
        "ssh://git@github.com/me/app.git",
        "projects/p/locations/l/connections/c/repositories/r",
        "https://source.developers.google.com/p/p/r/r",
    ],
)
def test_other_kinds_of_source_are_compared_as_they_are(source: str) -> None:
    record = replace(RECORD, sources=(source,))
    assert TrustedBuild(sources=(source,)).unmet(record, DIGEST) is None


WORDS = ("a", "b", "c")
LISTS = st.lists(st.sampled_from(WORDS), max_size=2).map(tuple)
ADDRESSES = LISTS.map(lambda words: tuple(f"https://h/{word}" for word in words))
RECORDS = st.builds(
    BuildRecord,
    st.sampled_from([(), (DIGEST,), (Digest(OTHER),)]),
    st.sampled_from(["", *WORDS]),
    LISTS,
    LISTS,
    ADDRESSES,
)
CONDITIONS = {"builders": LISTS, "projects": LISTS, "triggers": LISTS, "sources": ADDRESSES}


@given(RECORDS, st.fixed_dictionaries(CONDITIONS), st.sampled_from(list(CONDITIONS)), st.data())
def test_another_condition_never_turns_a_no_into_a_yes(
    record: BuildRecord, conditions: dict[str, Any], more: str, data: st.DataObject
) -> None:
    fewer = conditions | {more: ()}
    if any(fewer.values()) and TrustedBuild(**fewer).unmet(record, DIGEST) is not None:
        added = data.draw(CONDITIONS[more])
        assert TrustedBuild(**(fewer | {more: added})).unmet(record, DIGEST) is not None


@given(RECORDS, st.fixed_dictionaries(CONDITIONS))
def test_a_yes_rests_on_values_of_the_record(
    record: BuildRecord, conditions: dict[str, Any]
) -> None:
    if not any(conditions.values()):
        return
    if TrustedBuild(**conditions).unmet(record, DIGEST) is None:
        assert record.digests == (DIGEST,)
        assert not conditions["builders"] or record.builder in conditions["builders"]
        assert not conditions["projects"] or set(record.projects) & set(conditions["projects"])
        assert not conditions["triggers"] or set(record.triggers) & set(conditions["triggers"])
        if conditions["sources"]:
            assert record.sources
            assert set(record.sources) <= set(conditions["sources"])
