"""The policy's evaluation, beside what tests/flows/test_admission_agrees.py compares."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from google.cloud import binaryauthorization_v1 as ba
from google.protobuf import json_format
from grafeas import grafeas_v1 as g

from step.emulator.admission import Admission, Pod, Verdict
from step.emulator.binary_authorization import BinaryAuthorization
from step.emulator.grafeas import Grafeas
from step.emulator.refusal import Refusal
from step.model.image import ImageRef
from step.model.keys import Algorithm
from step.model.payload import Payload
from tests.emulator.world import FakeClock
from tests.keys import make_private_key, pkix_sign, public_pem

P256 = Algorithm["ECDSA_P256_SHA256"]
NAME = "gcr.io/my-project/web"
IMAGE, OTHER = (f"{NAME}@sha256:{digit * 64}" for digit in "12")
ATTESTOR = "projects/my-project/attestors/built-by-ci"
NOTE = "projects/my-project/notes/built-by-ci"
BLOCK = "ENFORCED_BLOCK_AND_AUDIT_LOG"
REQUIRE = {
    "evaluationMode": "REQUIRE_ATTESTATION",
    "enforcementMode": BLOCK,
    "requireAttestationsBy": [ATTESTOR],
}
ALLOW = {"evaluationMode": "ALWAYS_ALLOW", "enforcementMode": BLOCK}
HERE = Pod("my-project", "us-east1-a.prod", "web", "web:default")
UNTRUSTED = (
    f"Image {IMAGE} denied by Binary Authorization default admission rule. Image {IMAGE} denied by "
    f"attestor {ATTESTOR}: "
    "No attestations found that were valid and signed by a key trusted by the attestor"
)


class House:
    """One attestor with one key, and whatever policy a test stores."""

    def __init__(self, delay: timedelta = timedelta(0), **system: Any) -> None:
        self.clock = FakeClock()
        self.grafeas = Grafeas(self.clock.now, delay)
        self.authorization = BinaryAuthorization(self.clock.now, lambda _: 1)
        self.admission = Admission(self.authorization, self.grafeas, message(system))
        hint = g.AttestationNote.Hint(human_readable_name="n")
        self.grafeas.seed_note(g.Note(name=NOTE, attestation=g.AttestationNote(hint=hint)))
        pkix = ba.PkixPublicKey(
            public_key_pem=public_pem(make_private_key(P256)), signature_algorithm=P256.name
        )
        owned = ba.UserOwnedGrafeasNote(
            note_reference=NOTE,
            public_keys=[ba.AttestorPublicKey(id="urn:key", pkix_public_key=pkix)],
        )
        self.authorization.create_attestor(
            ba.CreateAttestorRequest(
                parent="projects/my-project",
                attestor_id="built-by-ci",
                attestor=ba.Attestor(user_owned_grafeas_note=owned),
            )
        )

    def store(self, default: dict[str, Any] = REQUIRE, **fields: Any) -> None:
        wanted = {"name": "projects/my-project/policy", "defaultAdmissionRule": default} | fields
        self.authorization.update_policy(ba.UpdatePolicyRequest(policy=message(wanted)))

    def attest(self, image: str = IMAGE, **changes: Any) -> g.Occurrence:
        payload = Payload.of(ImageRef.parse(changes.pop("signed", image))).to_bytes()
        value = pkix_sign(P256, payload, changes.pop("number", 0))
        signature = g.Signature(signature=value, public_key_id=changes.pop("key_id", "urn:key"))
        occurrence = g.Occurrence(
            resource_uri=changes.pop("resource_uri", f"https://{image}"),
            note_name=NOTE,
            attestation=g.AttestationOccurrence(serialized_payload=payload, signatures=[signature]),
        )
        assert not changes
        return self.grafeas.create_occurrence(
            g.CreateOccurrenceRequest(parent="projects/my-project", occurrence=occurrence)
        )

    def verdict(self, image: str = IMAGE, pod: Pod = HERE) -> Verdict:
        [verdict] = self.admission.verdicts([image], pod)
        assert verdict.image == image
        return verdict


def message(exported: dict[str, Any]) -> ba.Policy:
    plain = json_format.ParseDict(exported, ba.Policy.pb(ba.Policy()))
    actual: ba.Policy = ba.Policy.wrap(plain)
    return actual


@pytest.fixture
def house() -> House:
    made = House()
    made.store()
    return made


def test_an_attestation_opens_and_its_deletion_closes(house: House) -> None:
    assert house.verdict() == Verdict(IMAGE, UNTRUSTED, enforced=True)
    made = house.attest()
    assert house.verdict() == Verdict(IMAGE)
    assert OTHER in house.verdict(OTHER).denial
    house.grafeas.delete_occurrence(g.DeleteOccurrenceRequest(name=made.name))
    assert house.verdict().denial == UNTRUSTED


def test_an_image_has_one_digest(house: House) -> None:
    house.attest()
    twice = IMAGE.replace("@", "@sha256:12@")
    assert "Expected digest with sha256 scheme" in house.verdict(twice).denial


def test_only_the_digest_of_the_image_counts(house: House) -> None:
    house.attest()
    assert house.verdict(IMAGE.replace(NAME, "docker.io/library/copy")).denial == ""


@pytest.mark.parametrize(
    "changes",
    [
        {"number": 1},
        {"key_id": "urn:other"},
        {"signed": OTHER},
        {"resource_uri": f"https://{OTHER}"},
        {"resource_uri": f"https://{NAME}"},
        {"resource_uri": f"https://{IMAGE}0"},
        # What was signed for another image stays that, whatever its repository is called.
        {"signed": OTHER, "resource_uri": f"https://{IMAGE}@{OTHER.partition('@')[2]}"},
    ],
)
def test_what_is_no_attestation_of_the_image_does_not_open(
    house: House, changes: dict[str, Any]
) -> None:
    house.attest(**changes)
    assert house.verdict().denial == UNTRUSTED
    house.attest()  # beside it, a good one does
    assert house.verdict().denial == ""


def test_other_kinds_of_occurrence_attest_nothing(house: House) -> None:
    discovery = g.DiscoveryOccurrence(continuous_analysis=1)
    note = g.Note(name=NOTE, discovery=g.DiscoveryNote(analysis_kind=g.NoteKind.VULNERABILITY))
    request = g.UpdateNoteRequest(name=NOTE, note=note)
    house.grafeas.update_note(request)
    occurrence = g.Occurrence(resource_uri=f"https://{IMAGE}", note_name=NOTE, discovery=discovery)
    house.grafeas.seed_occurrence(occurrence)
    assert house.verdict().denial == UNTRUSTED


def test_what_lists_do_not_show_yet_does_not_open() -> None:
    house = House(delay=timedelta(seconds=3))
    house.store()
    house.attest()
    assert house.verdict().denial == UNTRUSTED
    house.clock.advance(timedelta(seconds=3))
    assert house.verdict().denial == ""


def test_every_page_of_the_list_is_read(house: House) -> None:
    for number in range(1000):  # as many as one page holds
        house.grafeas.seed_occurrence(
            g.Occurrence(
                resource_uri=f"https://{NAME}@sha256:{number:064}",
                note_name=NOTE,
                attestation=g.AttestationOccurrence(serialized_payload=b"{}"),
            )
        )
    assert house.verdict().denial == UNTRUSTED
    house.attest()
    assert house.verdict().denial == ""


@pytest.mark.parametrize("lost", ["attestor", "note"])
def test_what_was_deleted_since_the_policy_was_stored_attests_nothing(
    house: House, lost: str
) -> None:
    house.attest()
    if lost == "attestor":
        house.authorization.delete_attestor(ba.DeleteAttestorRequest(name=ATTESTOR))
    else:
        house.grafeas.delete_note(g.DeleteNoteRequest(name=NOTE))
    name = ATTESTOR if lost == "attestor" else NOTE
    denial = house.verdict().denial
    assert denial.endswith(f"denied by attestor {ATTESTOR}: {lost.capitalize()} {name} not found.")


@pytest.mark.filterwarnings("ignore:Unrecognized")
def test_what_a_later_version_may_add_is_no() -> None:
    house = House()
    rule = ba.AdmissionRule(evaluation_mode=99, enforcement_mode=99)
    policy = ba.Policy(name="projects/my-project/policy", default_admission_rule=rule)
    house.authorization.update_policy(ba.UpdatePolicyRequest(policy=policy))
    assert house.verdict() == Verdict(
        IMAGE,
        f"Image {IMAGE} denied by Binary Authorization default admission rule. The rule's "
        "evaluation mode is not known",
        enforced=True,
    )


def test_all_of_no_attestors_is_no(house: House) -> None:
    """The service takes no such rule; if one were there, it would not open."""
    stored = house.authorization.get_policy(ba.GetPolicyRequest(name="projects/my-project/policy"))
    stored.default_admission_rule.require_attestations_by = []
    assert house.verdict().denial.endswith("requires attestations and names no attestor")


def test_a_project_without_a_policy_has_the_default_one() -> None:
    house = House(admissionWhitelistPatterns=[])
    assert house.verdict() == Verdict(IMAGE)
    with pytest.raises(Refusal, match="does not match the pattern"):
        house.verdict(pod=Pod("", "us-east1-a.prod"))


@pytest.mark.parametrize(("mode", "covered"), [("ENABLE", True), ("DISABLE", False), (None, False)])
def test_the_system_policy_counts_where_the_policy_asks_for_it(
    mode: str | None, covered: bool
) -> None:
    house = House(admissionWhitelistPatterns=[{"namePattern": "gke.gcr.io/**"}])
    asked: dict[str, Any] = {"globalPolicyEvaluationMode": mode} if mode else {}
    house.store(**asked)
    assert (house.verdict("gke.gcr.io/a/pause:1").denial == "") is covered
    assert house.verdict().denial == UNTRUSTED


@pytest.mark.parametrize(
    ("field", "called", "key", "other"),
    [
        ("clusterAdmissionRules", "cluster", "us-east1-a.prod", "us-east1-a.test"),
        ("kubernetesNamespaceAdmissionRules", "namespace", "web", "db"),
        ("kubernetesServiceAccountAdmissionRules", "service account", "web:default", "web:admin"),
    ],
)
def test_a_specific_rule_is_the_only_one_that_is_looked_at(
    field: str, called: str, key: str, other: str
) -> None:
    deny = {"evaluationMode": "ALWAYS_DENY", "enforcementMode": BLOCK}
    house = House()
    house.store(ALLOW, **{field: {key: deny}})
    assert house.verdict().denial == (
        f"Image {IMAGE} denied by Binary Authorization {called} admission rule for {key}. "
        "Denied by always_deny admission rule"
    )
    house.store(deny, **{field: {key: ALLOW}})
    assert house.verdict().denial == ""
    house.store(ALLOW, **{field: {other: deny}})
    assert house.verdict().denial == ""


@pytest.mark.parametrize("scheme", ["", "spiffe://"])
@pytest.mark.parametrize("given", ["", "spiffe://"])
def test_an_identity_may_be_written_without_its_scheme(scheme: str, given: str) -> None:
    house, identity = House(), "example.com/ns/web/sa/default"
    deny = {"evaluationMode": "ALWAYS_DENY", "enforcementMode": BLOCK}
    house.store(ALLOW, istioServiceIdentityAdmissionRules={f"{scheme}{identity}": deny})
    place = Pod("my-project", "us-east1-a.prod", service_identity=f"{given}{identity}")
    assert (
        f"service identity admission rule for {scheme}{identity}."
        in house.verdict(pod=place).denial
    )


@pytest.mark.parametrize(
    ("field", "called", "key"),
    [
        ("kubernetesNamespaceAdmissionRules", "namespace", "web"),
        ("kubernetesServiceAccountAdmissionRules", "service account", "web:default"),
        ("istioServiceIdentityAdmissionRules", "service identity", "example.com/ns/n/sa/s"),
    ],
)
def test_rules_that_cannot_be_looked_up_admit_nothing(field: str, called: str, key: str) -> None:
    house = House()
    dry = {"evaluationMode": "ALWAYS_ALLOW", "enforcementMode": "DRYRUN_AUDIT_LOG_ONLY"}
    house.store(dry, **{field: {key: dry}})
    assert house.verdict(pod=Pod("my-project", "us-east1-a.prod")) == Verdict(
        IMAGE,
        f"Image {IMAGE} denied by Binary Authorization: the policy has rules by {called}, and the "
        "review says none",
        enforced=True,
    )


def test_a_dry_run_says_so_and_all_images_are_judged(house: House) -> None:
    house.attest()
    house.store(REQUIRE | {"enforcementMode": "DRYRUN_AUDIT_LOG_ONLY"})
    verdicts = house.admission.verdicts([IMAGE, OTHER, f"{NAME}:v1"], HERE)
    assert [(bool(each.denial), each.enforced) for each in verdicts] == [
        (False, False),
        (True, False),
        (True, False),
    ]
    assert verdicts[2].denial.endswith(
        f"denied by attestor {ATTESTOR}: Expected digest with sha256 scheme, but got tag or "
        "malformed digest"
    )
