"""What every verb hands over, with free text of the worst kind in it."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from step.errors import ExitCode, NotAllowed, Refused, Unavailable
from step.events import Failure, Passed
from step.model.admission import Attested, Decision, Unattested
from step.model.attestation import Attestation, Occurrence, Rejected
from step.model.names import NoteName
from step.results import github
from step.results.console import Terminal
from step.results.document import document, fitted, tree
from step.results.goal import Goal
from step.results.result import Result
from step.verify import Verdict
from tests import runner
from tests.results.reports import APP, CREATED, HOSTILE, PROD, QA, WEB
from tests.results.test_github import Cells

IMAGES = st.sampled_from([APP, WEB])
ERRORS = st.builds(Refused, HOSTILE, HOSTILE) | st.builds(Unavailable, HOSTILE, HOSTILE)
FAILURES = st.builds(Failure, st.none() | IMAGES, st.none() | st.just(QA), ERRORS)
# What cannot be an image is never decided about.
NAMES = st.sampled_from([str(APP), str(WEB), "gcr.io/p/web:v1", "::error::x", "##[error]x"])
DECISIONS = st.builds(
    Decision,
    image=NAMES,
    admitted=st.booleans(),
    by=HOSTILE,
    denial=HOSTILE,
    evidence=st.tuples(
        st.tuples(
            st.just(QA),
            st.builds(Attested, HOSTILE, HOSTILE)
            | st.builds(Unattested, HOSTILE, st.tuples(HOSTILE))
            | ERRORS,
        )
    ),
    warnings=st.tuples(HOSTILE),
)
UNDECIDED = st.builds(Failure, st.none() | NAMES | HOSTILE, st.none(), ERRORS)
REJECTED = st.builds(
    Rejected,
    st.builds(Occurrence, HOSTILE, HOSTILE, st.just(Attestation(b"", ()))),
    st.none() | IMAGES,
    st.none() | HOSTILE,
    HOSTILE,
)
VERDICTS = st.builds(
    Verdict,
    IMAGES,
    st.just(QA),
    st.just(NoteName("p", "n")),
    st.lists(REJECTED, max_size=2).map(tuple),
    st.none() | HOSTILE,
)


PASSED = st.builds(Passed, IMAGES, st.just("scan"), HOSTILE)


def some(each: st.SearchStrategy[object]) -> st.SearchStrategy[tuple[object, ...]]:
    return st.lists(each, max_size=3).map(tuple)


RESULTS: st.SearchStrategy[Result] = st.one_of(
    st.builds(Result, st.just(Goal.VERIFIED), some(VERDICTS), some(FAILURES)),
    st.builds(Result, st.just(Goal.ADMITTED), some(DECISIONS), some(UNDECIDED)),
    st.builds(Result, st.just(Goal.ATTESTED), some(PASSED | DECISIONS), some(FAILURES)),
)


@given(RESULTS)
def test_nothing_hostile_leaves_its_place(result: Result) -> None:
    outputs = github.outputs(result)
    file = "".join(github.heredoc(*each, "END-1") for each in outputs.items())
    assert runner.outputs(file) == outputs
    annotations = runner.commands(github.annotate(result))
    assert [each.name for each in annotations] == ["error"] * len(list(result.complaints()))
    page = Cells(github.summary(result))
    assert page.tags <= {"table", "tr", "th", "td", "code"}
    assert len(page.cells) == sum(len(head) * len(rows) for head, rows in github.tables(result))
    text = document(result)
    assert text.isascii()
    assert runner.commands(text) == []
    assert json.loads(text) == json.loads(json.dumps(tree(result)))
    assert len(fitted(result, 200)) <= 200 or set(json.loads(fitted(result, 200))) > {"omitted"}


@given(RESULTS)
def test_a_log_of_it_holds_no_command(result: Result) -> None:
    out, err = io.StringIO(), io.StringIO()
    terminal = Terminal(out, err, {})
    terminal.result(result)
    terminal.errors(result)
    for text in (out.getvalue(), err.getvalue()):
        assert text.isascii()
        assert runner.commands(text) == []
        assert "\x1b" not in text


@given(RESULTS)
def test_an_image_that_anything_speaks_against_is_no_output(result: Result) -> None:
    """What a deploy step takes from the outputs is what all that was asked is a yes of."""
    against = {about for about, _ in result.complaints()}
    assert against.isdisjoint(map(str, result.images))
    assert (result.status == "failed") == bool(result.exit_code)


@given(RESULTS, ERRORS)
def test_an_error_more_is_never_better(result: Result, error: Refused) -> None:
    worse = result.with_error(error)
    assert worse.status == "failed"
    assert worse.exit_code
    assert set(worse.images) <= set(result.images)


@pytest.mark.parametrize("goal", [Goal.ATTESTED, Goal.VERIFIED, Goal.ADMITTED])
def test_nothing_asked_is_no_yes(goal: Goal) -> None:
    result = Result(goal)
    assert (result.status, result.exit_code) == ("failed", ExitCode.REFUSED)
    assert result.images == ()


def verified(*rows: Verdict, failures: tuple[Failure, ...] = ()) -> Result:
    return Result(Goal.VERIFIED, rows, failures)


def test_an_image_is_no_output_when_one_attestor_of_two_says_no() -> None:
    yes, no = (
        Verdict(APP, name, NoteName("p", "n"), (), unmet)
        for name, unmet in ((QA, None), (PROD, "no attestation"))
    )
    assert verified(yes).images == (APP,)
    assert verified(yes, no).images == ()
    unasked = Failure(WEB, QA, Unavailable("x"))
    assert verified(yes, no, failures=(unasked,)).exit_code is ExitCode.REFUSED
    assert verified(yes, failures=(unasked,)).exit_code is ExitCode.UNAVAILABLE
    assert verified(yes, failures=(Failure(APP, PROD, NotAllowed("x")),)).images == ()


def test_an_attestation_of_a_denied_image_is_no_output() -> None:
    """One attestor's word is not enough where the rule asks for two."""
    evidence = ((QA, Attested("key", "occurrence")), (PROD, Unattested()))
    denied = Decision(str(APP), False, "rule", denial="no", evidence=evidence)
    actual = Result(Goal.ADMITTED, (denied,))
    assert (actual.images, actual.attestations, actual.public_key_ids) == ((), (), ())
    admitted = Result(Goal.ADMITTED, (Decision(str(APP), True, "rule", evidence=evidence[:1]),))
    assert (admitted.attestations, admitted.public_key_ids) == (("occurrence",), ("key",))


def test_a_check_that_passed_is_no_attestation() -> None:
    passed = Passed(APP, "scan", "nothing found")
    only = Result(Goal.ATTESTED, (passed,))
    assert (only.status, only.images) == ("checked", ())
    assert [*only.views[0].lines] == [("passed ", str(APP)), ("  scan        ", "nothing found")]
    both = Result(Goal.ATTESTED, (passed, CREATED))
    assert (both.status, both.images) == ("created", (APP,))
    refused = Result(Goal.ATTESTED, (passed,), (Failure(APP, None, Refused("no")),))
    assert refused.status == "failed"
