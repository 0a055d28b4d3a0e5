"""One signature is one statement: a key that two attestors list counts once where that is asked."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from step.model.attestation import Signature
from tests.flows.notes import entries, errors, public, put, signed, together
from tests.policies import REQUIRE, policy
from tests.world import ATTESTOR, IMAGE, NOTE, PROJECT, Result, World, attestor_seed

SECOND = f"projects/{PROJECT}/attestors/tested"
SECOND_NOTE = f"projects/{PROJECT}/notes/tested"
BOTH = ("--attestor", ATTESTOR, "--attestor", SECOND)
DISTINCT = "--distinct-keys"


@pytest.fixture
def copied(make_world: Callable[..., World]) -> World:
    """Two attestors that list one key under two ids; what the first attests, somebody copied."""
    world = make_world(
        together(attestor_seed(public()), attestor_seed(public(), public(1), name=SECOND))
        | {"policies": [policy(REQUIRE | {"requireAttestationsBy": [ATTESTOR, SECOND]})]}
    )
    put(world, signed())
    put(world, signed(), note=SECOND_NOTE, project="attacker")
    return world


def ask(world: World, verb: str, *arguments: str) -> Result:
    limit = ("--timeout", "0s") if verb == "gate" else ()
    return world.run(verb, IMAGE, *BOTH, "--format", "json", *limit, *arguments)


@pytest.mark.parametrize("verb", ["verify", "gate"])
def test_it_is_warned_of(copied: World, verb: str) -> None:
    result = ask(copied, verb)
    assert (result.code, errors(result)) == (0, [])
    warnings = {text for verdict in entries(result, "verdicts") for text in verdict["warnings"]}
    assert len(warnings) == 1
    [warning] = warnings
    assert f"{ATTESTOR} and {SECOND} list the same key" in warning
    assert result.err.count(warning) == 1


@pytest.mark.parametrize("verb", ["verify", "gate"])
def test_one_signature_is_not_two(copied: World, verb: str) -> None:
    result = ask(copied, verb, DISTINCT)
    verdicts = entries(result, "verdicts")
    assert (result.code, errors(result)) == (3, [])
    assert [each["verified"] for each in verdicts] == [True, False]
    assert "counts for another attestor already" in verdicts[1]["reason"]


@pytest.mark.parametrize("verb", ["verify", "gate"])
def test_two_signatures_are(copied: World, verb: str) -> None:
    put(copied, signed(number=1), note=SECOND_NOTE)
    assert ask(copied, verb, DISTINCT).code == 0


def test_of_three_that_share_one_key_two_are_a_no(make_world: Callable[..., World]) -> None:
    third, note = (f"projects/{PROJECT}/{kind}/scanned" for kind in ("attestors", "notes"))
    seeds = (attestor_seed(public(), name=name) for name in (ATTESTOR, SECOND, third))
    world = make_world(together(*seeds))
    for where in (NOTE, SECOND_NOTE, note):
        put(world, signed(), note=where)
    result = ask(world, "verify", "--attestor", third, DISTINCT)
    assert result.code == 3
    assert [verdict["verified"] for verdict in entries(result, "verdicts")] == [True, False, False]


def test_a_key_that_is_listed_twice_is_needed_once(make_world: Callable[..., World]) -> None:
    seed = attestor_seed(public(), public(key_id="urn:again"))
    world = make_world(together(seed, attestor_seed(public(1), name=SECOND)))
    again = Signature("urn:again", signed().value)
    put(world, signed(), again)
    put(world, signed(number=1), note=SECOND_NOTE)
    assert ask(world, "verify", DISTINCT, "--every-key").code == 0


def test_a_no_of_one_stays_its_own(make_world: Callable[..., World]) -> None:
    world = make_world(together(attestor_seed(public()), attestor_seed(public(), name=SECOND)))
    put(world, signed())
    result = ask(world, "verify", DISTINCT)
    reasons = [verdict["reason"] for verdict in entries(result, "verdicts")]
    assert reasons == [None, "no attestation verifies"]


def test_attestors_that_share_nothing_are_not_warned_of(make_world: Callable[..., World]) -> None:
    world = make_world(together(attestor_seed(public()), attestor_seed(public(1), name=SECOND)))
    put(world, signed())
    put(world, signed(number=1), note=SECOND_NOTE)
    result = ask(world, "verify", DISTINCT)
    assert result.code == 0
    assert [verdict["warnings"] for verdict in entries(result, "verdicts")] == [[], []]
    assert "same key" not in result.err


def test_the_policy_warns_and_can_want_more(copied: World) -> None:
    given = ("policy", "check", IMAGE, "--project", PROJECT, "--format", "json")
    result = copied.run(*given)
    [decision] = json.loads(result.out)["decisions"]
    assert (result.code, decision["admitted"]) == (0, True)
    assert any("list the same key" in text for text in decision["warnings"])
    result = copied.run(*given, DISTINCT)
    [decision] = json.loads(result.out)["decisions"]
    assert (result.code, decision["admitted"]) == (3, False)
    assert f"denied by attestor {SECOND}" in decision["denial"]
    assert "counts for another attestor already" in decision["denial"]
    put(copied, signed(number=1), note=SECOND_NOTE)
    assert copied.run(*given, DISTINCT).code == 0


def test_attest_asks_the_policy_for_it_only_where_it_is_asked(kms_world: World) -> None:
    result = kms_world.attest(DISTINCT)
    assert (result.code, kms_world.methods) == (2, [])
    assert "--distinct-keys has no effect without --policy-check" in result.error["message"]
