"""What builders write of a build, in each form of record."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

HEX = "0123456789abcdef" * 4
OTHER = "f" * 64
ID = "c5f03cc3-1b9d-4a3c-8a53-6f5e0a3b2c1d"
TRIGGER = "30c3972b-dae9-484c-80bf-1328bd7954c0"
TRIGGER_URI = f"projects/123456789012/locations/us-west1/triggers/{TRIGGER}"
WORKER = "https://cloudbuild.googleapis.com/GoogleHostedWorker"
NAME = "https://europe-docker.pkg.dev/my-project/apps/web"
SOURCE = "https://github.com/me/app"
SUBJECT = {"name": NAME, "digest": {"sha256": HEX}}
MATERIAL = {"uri": f"git+{SOURCE}", "digest": {"sha1": "4f2c9b1d" * 5}}
BASE = {"uri": f"gcr.io/cloud-builders/docker@sha256:{OTHER}", "digest": {"sha256": OTHER}}

GRAFEAS: dict[str, Any] = {
    "projectId": "my-project",
    "triggerId": TRIGGER,
    "builderVersion": "builder-7",
    "builtArtifacts": [{"checksum": f"sha256:{HEX}", "names": [f"{NAME}:1"]}],
    "sourceProvenance": {"context": {"git": {"url": f"{SOURCE}.git", "revisionId": "main"}}},
}
V0_1: dict[str, Any] = {
    "type": "https://in-toto.io/Statement/v0.1",
    "predicateType": "https://slsa.dev/provenance/v0.1",
    "subject": [SUBJECT],
    "slsaProvenance": {
        "builder": {"id": f"{WORKER}@v0.3"},
        "materials": [MATERIAL],
        "recipe": {
            "arguments": {
                "@type": "type.googleapis.com/google.devtools.cloudbuild.v1.Build",
                "name": f"projects/123456789012/locations/us-west1/builds/{ID}",
                "id": ID,
                "buildTriggerId": TRIGGER,
                "substitutions": {"TRIGGER_NAME": "forged", "REPO_FULL_NAME": "forged/forged"},
            }
        },
    },
}
V0_2: dict[str, Any] = {
    "type": "https://in-toto.io/Statement/v0.1",
    "predicateType": "https://slsa.dev/provenance/v0.2",
    "subject": [SUBJECT],
    "slsaProvenanceZeroTwo": {
        "builder": {"id": "https://tekton.dev/chains/v2"},
        "invocation": {"configSource": {"uri": f"git+{SOURCE}.git"}},
        "materials": [MATERIAL, {"uri": "oci://docker.io/library/golang"}],
    },
}
V1: dict[str, Any] = {
    "type": "https://in-toto.io/Statement/v1",
    "predicateType": "https://slsa.dev/provenance/v1",
    "subject": [SUBJECT, SUBJECT | {"name": f"{NAME}:latest"}],
    "predicate": {
        "buildDefinition": {
            "buildType": "https://cloud.google.com/build/gcb-buildtypes/google-worker/v1",
            "externalParameters": {
                "buildConfigSource": {"path": "cloudbuild.yaml", "repository": f"git+{SOURCE}"},
                "substitutions": {"_REPO": "forged"},
            },
            "internalParameters": {
                "triggerUri": TRIGGER_URI,
                "systemSubstitutions": {"TRIGGER_NAME": "forged", "PROJECT_ID": "forged"},
            },
            "resolvedDependencies": [
                {"uri": f"git+{SOURCE}@refs/heads/main", "digest": {"gitCommit": "4f2c9b1d" * 5}},
                BASE,
            ],
        },
        "runDetails": {
            "builder": {"id": WORKER},
            "metadata": {
                "invocationId": "https://cloudbuild.googleapis.com/v1/projects/my-project/"
                f"locations/us-west1/builds/{ID}"
            },
        },
    },
}
BUILD: dict[str, Any] = {
    "name": f"projects/123456789012/locations/us-west1/builds/{ID}",
    "projectId": "my-project",
    "status": "SUCCESS",
    "buildTriggerId": TRIGGER,
    "results": {"images": [{"name": f"{NAME}:1", "digest": f"sha256:{HEX}"}]},
    "sourceProvenance": {"resolvedGitSource": {"url": f"{SOURCE}.git"}},
    "substitutions": {"TRIGGER_NAME": "forged", "REPO_FULL_NAME": "forged/forged"},
}


def changed(document: Mapping[str, Any], path: str, value: Any) -> dict[str, Any]:
    """The document with another value at a path such as `subject.0.name`; None removes it."""
    copied = copy.deepcopy(dict(document))
    *parents, last = [int(part) if part.isdigit() else part for part in path.split("/")]
    place: Any = copied
    for part in parents:
        place = place[part]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return copied
