"""Write payloads.json: what gcloud signs for each of a list of references, or that it refuses.

Run where gcloud is installed: python tests/vectors/make_payloads.py
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

HEX = "0123456789abcdef" * 4
DIGEST = f"sha256:{HEX}"

REFERENCES = (
    f"gcr.io/p/i@{DIGEST}",
    f"https://gcr.io/p/i@{DIGEST}",
    f"http://gcr.io/p/i@{DIGEST}",
    f"//gcr.io/p/i@{DIGEST}",
    f"gcr.io/p/i:tag@{DIGEST}",
    f"GCR.IO/p/i@{DIGEST}",
    f"docker.io/library/ubuntu@{DIGEST}",
    f"index.docker.io/library/ubuntu@{DIGEST}",
    f"europe-west1-docker.pkg.dev/my-project/my-repo/team/app@{DIGEST}",
    f"us.gcr.io/example.com/project/a_b__c-d.e@{DIGEST}",
    f"https://localhost:5000/foo@{DIGEST}",
    f"127.0.0.1:5000/x@{DIGEST}",
    f"ubuntu@{DIGEST}",
    f"gcr.io/P/i@{DIGEST}",
    "gcr.io/p/i:latest",
    "gcr.io/p/i",
    "gcr.io/p/i@sha256:0123456789ab",
    f"gcr.io/p/i@sha256:{HEX.upper()}",
    f"gcr.io/p/i@sha512:{HEX}{HEX}",
    f"gcr.io/p/i@{HEX}",
)


def gcloud_payload(reference: str) -> str | None:
    """What gcloud prints, or None when it refuses; nothing is asked of any server."""
    done = subprocess.run(
        [
            *("gcloud", "container", "binauthz", "create-signature-payload"),
            f"--artifact-url={reference}",
        ],
        # Else gcloud wants an account, even for this.
        env=os.environ | {"CLOUDSDK_AUTH_DISABLE_CREDENTIALS": "true"},
        capture_output=True,
        check=False,
    )
    return done.stdout.decode("ascii") if done.returncode == 0 else None


def gcloud_version() -> str:
    """The version of the Google Cloud SDK."""
    command = ["gcloud", "version", "--format=value('Google Cloud SDK')"]
    return subprocess.run(command, capture_output=True, check=True, text=True).stdout.strip()


if __name__ == "__main__":
    vectors = {
        "made_by": f"gcloud {gcloud_version()}",
        "payloads": {reference: gcloud_payload(reference) for reference in REFERENCES},
    }
    path = Path(__file__).with_name("payloads.json")
    path.write_text(json.dumps(vectors, indent=2, ensure_ascii=True) + "\n")
