"""The emulator's admission and the program's `policy check` are two programs; they agree."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from google.cloud import binaryauthorization_v1 as ba
from google.protobuf import json_format
from grafeas import grafeas_v1 as g
from hypothesis import event, given, settings
from hypothesis import strategies as st

from step.emulator.admission import Admission, Pod
from step.emulator.binary_authorization import BinaryAuthorization
from step.emulator.grafeas import Grafeas
from step.model.admission import Attested, Evidence, Request, Unattested, evaluate
from step.model.image import ImageRef
from step.model.keys import Algorithm
from step.model.names import AttestorName
from step.model.payload import Payload
from step.model.policy import Policy, SystemPolicy
from tests.keys import PgpKind, make_private_key, pgp_public, pgp_sign, pkix_sign, public_pem

P256 = Algorithm["ECDSA_P256_SHA256"]
PROJECT = "my-project"
BY_PKIX, BY_PGP = (f"projects/{PROJECT}/attestors/{name}" for name in ("pkix", "pgp"))
KEY_IDS = {BY_PKIX: "urn:key", BY_PGP: ""}
NAME = "gcr.io/my-project/web"
DIGESTS = tuple(f"sha256:{digit * 64}" for digit in "12")
IMAGES = (
    *(f"{NAME}@{digest}" for digest in DIGESTS),
    f"gcr.io/my-project/web/inner@{DIGESTS[0]}",
    f"gcr.io/my-project-2/web:v1@{DIGESTS[1]}",
    NAME,
    f"{NAME}:v1",
    f"{NAME}@{DIGESTS[0][:-1]}",
    f"{NAME}@{DIGESTS[0].upper()}",
    f"{NAME}@sha512:{'3' * 128}",
)
CLUSTERS = ("us-east1-a.prod", "global.fleet")
NAMESPACES = ("web", "kube-system")
ACCOUNTS = ("web:default", "web:deployer")
IDENTITIES = ("spiffe://example.com/ns/web/sa/default", "example.com/ns/web/sa/deployer")
KEYS = {
    "clusterAdmissionRules": CLUSTERS,
    "kubernetesNamespaceAdmissionRules": NAMESPACES,
    "kubernetesServiceAccountAdmissionRules": ACCOUNTS,
    "istioServiceIdentityAdmissionRules": IDENTITIES,
}


@cache
def signature(attestor: str, digest: str, number: int) -> bytes:
    payload = Payload.of(ImageRef.parse(f"{NAME}@{digest}")).to_bytes()
    if attestor == BY_PKIX:
        return pkix_sign(P256, payload, number)
    return pgp_sign(PgpKind.ED25519, payload, number)


def note_of(attestor: str) -> str:
    return attestor.replace("/attestors/", "/notes/")


def public_key(attestor: str) -> ba.AttestorPublicKey:
    if attestor == BY_PGP:
        return ba.AttestorPublicKey(ascii_armored_pgp_public_key=pgp_public(PgpKind.ED25519))
    pkix = ba.PkixPublicKey(
        public_key_pem=public_pem(make_private_key(P256)), signature_algorithm=P256.name
    )
    return ba.AttestorPublicKey(id=KEY_IDS[BY_PKIX], pkix_public_key=pkix)


class Cloud:
    """Two attestors, and what was said of images: as signed by their own keys, or by others."""

    def __init__(self, said: dict[tuple[str, str], bool]) -> None:
        def now() -> datetime:
            return datetime(2026, 11, 1, tzinfo=UTC)

        self.grafeas = Grafeas(now, timedelta(0))
        self.authorization = BinaryAuthorization(now, lambda _: 1)
        hint = g.AttestationNote.Hint(human_readable_name="n")
        for name in (BY_PKIX, BY_PGP):
            note = g.Note(name=note_of(name), attestation=g.AttestationNote(hint=hint))
            self.grafeas.seed_note(note)
            parent, _, identity = name.partition("/attestors/")
            owned = ba.UserOwnedGrafeasNote(
                note_reference=note_of(name), public_keys=[public_key(name)]
            )
            self.authorization.create_attestor(
                ba.CreateAttestorRequest(
                    parent=parent,
                    attestor_id=identity,
                    attestor=ba.Attestor(name=name, user_owned_grafeas_note=owned),
                )
            )
        for (attestor, digest), genuine in said.items():
            self.grafeas.seed_occurrence(self.occurrence(attestor, digest, genuine))

    def occurrence(self, attestor: str, digest: str, genuine: bool) -> g.Occurrence:
        owned = self.authorization.attestor(attestor).user_owned_grafeas_note
        value = signature(attestor, digest, 0 if genuine else 1)
        image = ImageRef.parse(f"{NAME}@{digest}")
        return g.Occurrence(
            resource_uri=image.resource_uri,
            note_name=note_of(attestor),
            attestation=g.AttestationOccurrence(
                serialized_payload=Payload.of(image).to_bytes(),
                signatures=[g.Signature(signature=value, public_key_id=owned.public_keys[0].id)],
            ),
        )

    def admission(self, policy: dict[str, Any], system: dict[str, Any]) -> Admission:
        wanted = _message({"name": f"projects/{PROJECT}/policy"} | policy)
        self.authorization.update_policy(ba.UpdatePolicyRequest(policy=wanted))
        return Admission(self.authorization, self.grafeas, _message(system))


def _message(exported: dict[str, Any]) -> ba.Policy:
    plain = json_format.ParseDict(exported, ba.Policy.pb(ba.Policy()))
    actual: ba.Policy = ba.Policy.wrap(plain)
    return actual


ENFORCEMENT = st.sampled_from(["ENFORCED_BLOCK_AND_AUDIT_LOG", "DRYRUN_AUDIT_LOG_ONLY"])
ATTESTORS = st.lists(st.sampled_from([BY_PKIX, BY_PGP]), min_size=1, max_size=3)
RULES = st.fixed_dictionaries(
    {
        "evaluationMode": st.sampled_from(["ALWAYS_ALLOW", "ALWAYS_DENY"]),
        "enforcementMode": ENFORCEMENT,
    }
) | st.fixed_dictionaries(
    {
        "evaluationMode": st.just("REQUIRE_ATTESTATION"),
        "enforcementMode": ENFORCEMENT,
        "requireAttestationsBy": ATTESTORS,
    }
)
# An image's name, cut somewhere, with stars; seldom all of it, or nothing.
PATTERNS = st.builds(
    lambda image, cut, stars: {"namePattern": image[:cut] + stars},
    st.sampled_from(IMAGES),
    st.integers(1, 40) | st.just(200),
    st.sampled_from(["", "*", "**", "***"]),
)
ALLOWLISTS = st.lists(PATTERNS, max_size=2)
RULE_MAPS = st.sampled_from([None, *KEYS]).flatmap(
    lambda field: (
        st.just({})
        if field is None
        else st.dictionaries(st.sampled_from(KEYS[field]), RULES, max_size=2).map(
            lambda rules: {field: rules}
        )
    )
)
POLICIES = st.builds(
    lambda fields, rules: fields | rules,
    st.fixed_dictionaries(
        {
            "defaultAdmissionRule": RULES,
            "admissionWhitelistPatterns": ALLOWLISTS,
            "globalPolicyEvaluationMode": st.sampled_from(["ENABLE", "DISABLE"]),
        }
    ),
    RULE_MAPS,
)
SAID = st.dictionaries(
    st.tuples(st.sampled_from([BY_PKIX, BY_PGP]), st.sampled_from(DIGESTS)), st.booleans()
)
REQUESTS = st.builds(
    Request,
    cluster=st.sampled_from(CLUSTERS),
    namespace=st.none() | st.sampled_from(NAMESPACES),
    service_account=st.none() | st.sampled_from(ACCOUNTS),
    service_identity=st.none() | st.sampled_from(IDENTITIES),
)


@settings(max_examples=150)
@given(policy=POLICIES, system=ALLOWLISTS, said=SAID, request=REQUESTS)
def test_they_admit_and_deny_the_same_in_the_same_words(
    policy: dict[str, Any],
    system: list[dict[str, str]],
    said: dict[tuple[str, str], bool],
    request: Request,
) -> None:
    def verdict(name: AttestorName, image: ImageRef) -> Evidence:
        genuine = said.get((str(name), str(image.digest)), False)
        return Attested("key", "occurrence") if genuine else Unattested()

    system_policy = {"admissionWhitelistPatterns": system}
    pod = Pod(
        PROJECT,
        request.cluster or "",
        request.namespace,
        request.service_account,
        request.service_identity,
    )
    verdicts = Cloud(said).admission(policy, system_policy).verdicts(IMAGES, pod)
    ours = Policy.from_mapping(policy, "policy")
    unsaid = ours.scope is not None and request.of(ours.scope) is None
    for image, actual in zip(IMAGES, verdicts, strict=True):
        decision = evaluate(
            ours, image, request, verdict, SystemPolicy.from_mapping(system_policy, "system")
        )
        assert actual.image == decision.image
        if unsaid and decision.rule is not None:
            # Who asks ahead is warned; who wants to run is refused.
            assert actual.denial.endswith(", and the review says none")
            assert actual.enforced
            assert any("was not given" in warning for warning in decision.warnings)
            continue
        event(f"denial: {bool(decision.denial)}, admitted: {decision.admitted}")
        assert actual.denial == decision.denial
        assert (not actual.denial or not actual.enforced) is decision.admitted
