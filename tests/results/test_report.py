"""The verdict over several results, and the JSON of them."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from step import __version__
from step.attest import Receipt
from step.discovery.record import Discovered, Origin
from step.errors import (
    BadInput,
    ExitCode,
    NotAllowed,
    NotFound,
    NotVisible,
    Refused,
    StepError,
    Unavailable,
)
from step.events import Failure
from step.results.document import document, fitted
from step.results.goal import Goal
from step.results.result import Result
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
from tests.world import RECEIPT_KEYS

ERROR_KEYS = ["image", "attestor", "exit_code", "message", "hint"]


class Unfinished(StepError):
    exit_code = ExitCode.INCOMPLETE


WORST_FIRST: list[Callable[[str], StepError]] = [
    StepError,
    Refused,
    BadInput,
    NotAllowed,
    NotFound,
    Unavailable,
    NotVisible,
    Unfinished,
]


@pytest.mark.parametrize("pair", [*itertools.combinations(WORST_FIRST, 2)])
def test_the_exit_code_is_the_worst(pair: tuple[Callable[[str], StepError], ...]) -> None:
    worse, better = (failure(kind("x")) for kind in pair)
    for failures in ([worse, better], [better, worse]):
        assert report(CREATED, *failures).exit_code is worse.error.exit_code


def test_every_exit_code_has_its_place() -> None:
    assert {kind("x").exit_code for kind in WORST_FIRST} == set(ExitCode) - {ExitCode.DONE}


def test_without_failures_it_is_done() -> None:
    assert report(CREATED, EXISTING).exit_code is ExitCode.DONE


@pytest.mark.parametrize(
    ("parts", "status"),
    [
        ([EXISTING, CREATED, DRY_RUN], "created"),
        ([EXISTING, DRY_RUN], "dry-run"),
        ([EXISTING], "existing"),
        ([CREATED, REFUSED], "failed"),
    ],
)
def test_status(parts: list[Receipt | Failure], status: str) -> None:
    assert report(*parts).status == status


def test_images_are_those_that_every_attestor_attested() -> None:
    again = replace(CREATED, attestor=DRY_RUN.attestor)
    assert report(EXISTING, CREATED, again).images == (WEB, APP)
    assert report(EXISTING, CREATED, REFUSED).images == (APP,)
    assert report(UNUSABLE).images == ()


def test_no_image_is_an_output_when_the_run_itself_failed() -> None:
    """It may have ended before another attestor, or the policy, was asked."""
    assert report(CREATED, UNUSABLE).images == ()


def test_a_receipt_is_the_contract_s() -> None:
    text = document(report(CREATED, build="https://ci/1"))
    assert text.endswith("}\n")
    (receipt,) = json.loads(text)["receipts"]
    assert list(receipt) == RECEIPT_KEYS
    assert receipt == {
        "image": str(APP),
        "digest": str(APP.digest),
        "attestor": "projects/p/attestors/qa",
        "note": "projects/p/notes/qa-note",
        "occurrence": "projects/p/occurrences/1",
        "public_key_id": "//cloudkms.googleapis.com/v1/projects/p/k/1",
        "algorithm": "ECDSA_P256_SHA256",
        "status": "created",
        "payload": "e30K",
        "signature": "/wA=",
        "create_time": "2026-11-02T03:04:05.000060Z",
        "visible_after_seconds": 3.21,
        "resource_uri": f"https://{APP}",
        "build": "https://ci/1",
        "version": __version__,
        "origin": None,
    }


def test_a_receipt_says_where_the_digest_came_from() -> None:
    origins = {
        WEB: Origin("--digest"),
        APP: Origin("the registry", tag="v1", build="b", commit="c" * 40),
    }
    whole = replace(report(CREATED, EXISTING), origins=origins)
    app, web = json.loads(document(whole))["receipts"]
    assert app["image"] == str(APP)
    assert app["origin"] == {
        "source": "the registry",
        "tag": "v1",
        "build": "b",
        "trigger": None,
        "repository": None,
        "commit": "c" * 40,
    }
    assert web["origin"]["source"] == "--digest"


@given(HOSTILE)
def test_hostile_origins_start_no_command(text: str) -> None:
    actual = (Discovered(APP, Origin(text, tag=text)),)
    listed = document(Result(Goal.DISCOVERED, actual, (REFUSED,)))
    assert runner.commands(listed) == []
    [each] = json.loads(listed)["images"]
    assert list(each) == ["image", "digest", "origin"]
    assert each["origin"]["source"] == text
    assert [list(error) for error in json.loads(listed)["errors"]] == [ERROR_KEYS]


def test_what_a_receipt_lacks_is_null() -> None:
    (receipt,) = json.loads(document(report(DRY_RUN)))["receipts"]
    assert list(receipt) == RECEIPT_KEYS
    lacking = {key for key, value in receipt.items() if value is None}
    assert lacking == {
        "occurrence",
        "signature",
        "create_time",
        "visible_after_seconds",
        "build",
        "origin",
    }


def test_times_are_in_utc() -> None:
    east = datetime(2026, 1, 1, 1, 30, tzinfo=timezone(timedelta(hours=2)))
    (receipt,) = json.loads(document(report(replace(CREATED, create_time=east))))["receipts"]
    assert receipt["create_time"] == "2025-12-31T23:30:00Z"


def test_errors_are_the_contract_s() -> None:
    tree = json.loads(document(report(REFUSED, UNUSABLE)))
    assert tree["receipts"] == []
    assert [list(error) for error in tree["errors"]] == [ERROR_KEYS, ERROR_KEYS]
    assert tree["errors"][0] == {
        "image": str(WEB),
        "attestor": "projects/p/attestors/prod",
        "exit_code": 3,
        "message": "the attestor says no",
        "hint": "Register the key.",
    }
    assert tree["errors"][1]["image"] is None
    assert tree["errors"][1]["attestor"] is None


def test_a_document_is_shortened_by_whole_keys() -> None:
    whole = report(CREATED, EXISTING, REFUSED)
    full = fitted(whole, 10_000)
    assert json.loads(full) == json.loads(document(whole))
    assert fitted(whole, len(full)) == full
    lighter = fitted(whole, len(full) - 1)
    assert list(json.loads(lighter)["receipts"][0]) == [
        key for key in RECEIPT_KEYS if key not in {"payload", "signature"}
    ]
    assert list(json.loads(lighter)["errors"][0]) == ERROR_KEYS
    lightest = fitted(whole, len(lighter) - 1)
    assert [list(receipt) for receipt in json.loads(lightest)["receipts"]] == [
        ["image", "attestor", "occurrence", "public_key_id", "status"]
    ] * 2
    assert [list(error) for error in json.loads(lightest)["errors"]] == [
        ["image", "attestor", "exit_code"]
    ]
    assert json.loads(fitted(whole, len(lightest) - 1)) == {
        "receipts": [],
        "errors": [],
        "omitted": {"receipts": 2, "errors": 1},
    }


@given(hostile_reports(), st.integers(100, 5000))
def test_hostile_text_in_json(hostile: Result, limit: int) -> None:
    text = document(hostile)
    assert text.isascii()
    assert runner.commands(text) == []
    tree = json.loads(text)
    assert [receipt["public_key_id"] for receipt in tree["receipts"]] == [
        row.public_key_id for row in hostile.rows if isinstance(row, Receipt)
    ]
    assert [(each["message"], each["hint"]) for each in tree["errors"]] == [
        (each.error.message, each.error.hint) for each in hostile.failures
    ]
    line = fitted(hostile, limit)
    assert len(line) <= limit
    assert line.isascii()
    assert "\n" not in line
    assert runner.commands(line) == []
    assert set(json.loads(line)) >= {"receipts", "errors"}
