"""Kubernetes' reviews, posted to the admission endpoint as an API server would."""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

PATH = "/projects/my-project/clusters/us-east1-a.prod:admit"
UID = "705ab4f5-6393-11e8-b7cc-42010a800002"


@dataclass(frozen=True)
class Endpoint:
    """The endpoint, and the authority that it is trusted by."""

    address: str
    ca_file: Path

    def post(
        self, document: Any, path: str = PATH, verb: str = "POST", **headers: str
    ) -> tuple[int, dict[str, Any]]:
        """Status and JSON of an answer; a document that is not bytes is sent as JSON."""
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        with closing(self.connect()) as connection:
            # As API servers call it: their timeout is in the query.
            connection.request(verb, f"{path}?timeout=10s", body, headers)
            with connection.getresponse() as response:
                answer = json.loads(response.read())
                assert response.headers["Content-Type"].startswith("application/json")
                return response.status, answer

    def connect(self) -> http.client.HTTPSConnection:
        """A connection that trusts the authority and nobody else."""
        context = ssl.create_default_context(cafile=str(self.ca_file))
        return http.client.HTTPSConnection(
            urlsplit(self.address).netloc, timeout=30, context=context
        )

    def admit(self, document: Mapping[str, Any], path: str = PATH) -> dict[str, Any]:
        """The response to an AdmissionReview; it is one to its uid."""
        status, answer = self.post(document, path)
        assert (status, answer["apiVersion"], answer["kind"]) == (
            200,
            "admission.k8s.io/v1",
            "AdmissionReview",
        )
        response = dict(answer["response"])
        assert response.pop("uid") == document["request"]["uid"]
        return response

    def review(self, document: Mapping[str, Any], path: str = PATH) -> dict[str, Any]:
        """The status of an ImageReview."""
        status, answer = self.post(document, path)
        assert (status, answer["apiVersion"], answer["kind"]) == (
            200,
            "imagepolicy.k8s.io/v1alpha1",
            "ImageReview",
        )
        return dict(answer["status"])


def pod(*images: str, labels: Mapping[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    """A pod, or a template of one, whose containers are of these images."""
    containers = [{"name": f"c{n}", "image": image} for n, image in enumerate(images)]
    return {"metadata": {"labels": dict(labels or {})}, "spec": {"containers": containers} | spec}


def admission_review(
    item: Mapping[str, Any] | None,
    kind: Sequence[str] = ("", "Pod"),
    operation: str = "CREATE",
    namespace: str = "web",
) -> dict[str, Any]:
    """What an API server sends a validating webhook."""
    request = {
        "uid": UID,
        "kind": {"group": kind[0], "version": "v1", "kind": kind[1]},
        "resource": {"group": kind[0], "version": "v1", "resource": kind[1].lower() + "s"},
        "namespace": namespace,
        "operation": operation,
        "userInfo": {"username": "someone"},
        "object": item,
        "oldObject": None,
        "dryRun": False,
    }
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}


def image_review(*images: str, **spec: Any) -> dict[str, Any]:
    """What an API server's ImagePolicyWebhook sends."""
    containers = [{"image": image} for image in images]
    return {
        "apiVersion": "imagepolicy.k8s.io/v1alpha1",
        "kind": "ImageReview",
        "metadata": {"creationTimestamp": None},
        "spec": {"containers": containers, "namespace": "web"} | spec,
        "status": {"allowed": False},
    }
