"""Policies of the project that tests run in, as gcloud exports them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.world import ATTESTOR, PROJECT, kms_seed

BLOCK = "ENFORCED_BLOCK_AND_AUDIT_LOG"
DENY = {"evaluationMode": "ALWAYS_DENY", "enforcementMode": BLOCK}
ALLOW = {"evaluationMode": "ALWAYS_ALLOW", "enforcementMode": BLOCK}
REQUIRE = {
    "evaluationMode": "REQUIRE_ATTESTATION",
    "enforcementMode": BLOCK,
    "requireAttestationsBy": [ATTESTOR],
}


def policy(default: Mapping[str, Any] = REQUIRE, **fields: Any) -> dict[str, Any]:
    return {"name": f"projects/{PROJECT}/policy", "defaultAdmissionRule": dict(default)} | fields


def seed(**fields: Any) -> dict[str, Any]:
    return kms_seed() | {"policies": [policy(**fields)]}
