"""The admission endpoint: Kubernetes' reviews in, Binary Authorization's answer out, over TLS.

https://kubernetes.io/docs/reference/config-api/imagepolicy.v1alpha1/ and
https://kubernetes.io/docs/reference/config-api/apiserver-admission.v1/ have the two forms. Which
one GKE's own webhook speaks is not public.
"""

import json
import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from step.emulator.admission import Pod, Verdict
from step.emulator.http_server import HttpServer
from step.emulator.refusal import EmulatorError
from step.emulator.server import address_of
from step.emulator.tls import given_certificate, made_certificate

_logger = logging.getLogger(__name__)

# A review holds an object twice at most, and etcd takes no object above 1.5 MiB:
# https://etcd.io/docs/v3.6/dev-guide/limit/
MAX_BODY = 8 * 1024 * 1024
IMAGE_REVIEW = ("imagepolicy.k8s.io/v1alpha1", "ImageReview")
ADMISSION_REVIEW = ("admission.k8s.io/v1", "AdmissionReview")
# https://cloud.google.com/binary-authorization/docs/using-breakglass; the annotation is the older
# way, and the only one of the two that an ImageReview carries.
BREAK_GLASS_LABEL = "image-policy.k8s.io/break-glass"
BREAK_GLASS_ANNOTATION = "alpha.image-policy.k8s.io/break-glass"

# As Kubernetes calls it, a query is added for its timeout.
_PATH = re.compile(r"/projects/([a-z0-9.:-]+)/clusters/([a-z0-9-]+\.[A-Za-z0-9_-]+):admit")
# What kinds of each group hold a pod, and where: https://kubernetes.io/docs/reference/kubernetes-api/
_TEMPLATE = ("spec", "template")
_PODS: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("", "Pod"): (),
    ("", "ReplicationController"): _TEMPLATE,
    ("apps", "DaemonSet"): _TEMPLATE,
    ("apps", "Deployment"): _TEMPLATE,
    ("apps", "ReplicaSet"): _TEMPLATE,
    ("apps", "StatefulSet"): _TEMPLATE,
    ("batch", "Job"): _TEMPLATE,
    ("batch", "CronJob"): ("spec", "jobTemplate", *_TEMPLATE),
}
_CONTAINERS = ("containers", "initContainers", "ephemeralContainers")
_IMAGE = re.compile(r"[!-~]+")

Verdicts = Callable[[Sequence[str], Pod], Sequence[Verdict]]


@dataclass(frozen=True, slots=True)
class AdmissionPort:
    """Where the admission endpoint listens, and the certificate that it shows.

    Without files for certificate and key one is made, and ``authority_file`` is written: the PEM
    that clients must trust. Unlike the other ports it may be on any address that a cluster's API
    server reaches: it answers by policy and writes nothing.
    """

    port: int = 0
    host: str = "127.0.0.1"
    certificate_file: Path | None = None
    key_file: Path | None = None
    authority_file: Path | None = None


class AdmissionServer:
    """Answers ``POST /projects/PROJECT/clusters/LOCATION.NAME:admit`` over HTTPS."""

    def __init__(self, verdicts: Verdicts, settings: AdmissionPort) -> None:
        """Bind at once; EmulatorError for an address, a certificate or a file that cannot be."""
        self._verdicts = verdicts
        host = address_of(settings.host)
        if (settings.certificate_file is None) != (settings.key_file is None):
            raise EmulatorError("a TLS certificate and its key go together: give both or neither")
        if settings.certificate_file is None or settings.key_file is None:
            tls, authority = made_certificate(host)
        elif settings.authority_file is None:
            tls, authority = given_certificate(settings.certificate_file, settings.key_file), ""
        else:
            raise EmulatorError("the authority of a certificate that is given is not known here")
        self._server = HttpServer(self._answer, host, settings.port, limit=MAX_BODY, tls=tls)
        self.address = f"https://{self._server.address}"
        if settings.authority_file is not None:
            try:
                settings.authority_file.write_text(authority, encoding="ascii")
            except OSError as error:
                self.stop()
                raise EmulatorError(f"cannot write {settings.authority_file}: {error}") from error

    def stop(self) -> None:
        """Let reviews in flight end, and release the port."""
        self._server.stop()

    def _answer(self, verb: str, target: str, body: bytes) -> tuple[int, bytes]:
        """An HTTP status and JSON; only a status of 200 can hold a yes."""
        path = _PATH.fullmatch(unquote(target.partition("?")[0]))
        if path is None:
            return _error(404, "The path is not /projects/PROJECT/clusters/LOCATION.NAME:admit.")
        if verb != "POST":
            return _error(405, "Reviews are posted.")
        try:
            return 200, _dump(self._review(_load(body), Pod(path[1], path[2])))
        except _Malformed as problem:
            return _error(400, f"Not a review that can be judged: {problem}")
        except Exception:
            _logger.exception("a review was not answered")
            return _error(500, "Internal error encountered.")

    def _review(self, document: "_Part", whose: Pod) -> dict[str, Any]:
        form = (document.text("apiVersion"), document.text("kind"))
        if form == IMAGE_REVIEW:
            return self._image_review(document.part("spec"), whose)
        if form == ADMISSION_REVIEW:
            request = document.part("request")
            uid = request.text("uid")
            if not uid:
                raise _Malformed("request.uid is missing")
            outcome = self._admission(request, whose)
            return _typed(ADMISSION_REVIEW, response={"uid": uid} | outcome.as_response())
        known = " nor ".join(" ".join(form) for form in (IMAGE_REVIEW, ADMISSION_REVIEW))
        raise _Malformed(f"apiVersion and kind are neither {known}")

    def _image_review(self, spec: "_Part", whose: Pod) -> dict[str, Any]:
        images = [container.image("image") for container in spec.parts("containers")]
        where = replace(whose, namespace=spec.text("namespace") or None)
        break_glass = spec.part("annotations").text(BREAK_GLASS_ANNOTATION) == "true"
        outcome = self._outcome(images, where, break_glass)
        return _typed(IMAGE_REVIEW, status=outcome.as_status())

    def _admission(self, request: "_Part", whose: Pod) -> "_Outcome":
        operation = request.text("operation")
        if operation in ("DELETE", "CONNECT"):  # nothing new will run
            return _Outcome()
        if operation not in ("CREATE", "UPDATE"):
            raise _Malformed("request.operation is none of CREATE, UPDATE, DELETE, CONNECT")
        kind = (request.part("kind").text("group"), request.part("kind").text("kind"))
        if kind not in _PODS:
            shown = "/".join(kind)[:80]
            return _Outcome(
                f"Objects of kind {shown!r} are not judged here, since what they run is not known: "
                "leave them out of the webhook's rules"
            )
        pod = request.part("object")
        for step in _PODS[kind]:
            pod = pod.part(step)
        spec, namespace = pod.part("spec"), request.text("namespace") or None
        account = spec.text("serviceAccountName") or spec.text("serviceAccount") or "default"
        owner = f"{namespace}:{account}" if namespace else None
        where = Pod(whose.project, whose.cluster, namespace, owner)
        break_glass = pod.part("metadata").part("labels").text(BREAK_GLASS_LABEL) == "true"
        return self._outcome(list(_images(spec)), where, break_glass)

    def _outcome(self, images: Sequence[str], pod: Pod, break_glass: bool) -> "_Outcome":
        if not images:
            raise _Malformed("there are no containers")
        verdicts = self._verdicts(list(dict.fromkeys(images)), pod)
        denials = [verdict for verdict in verdicts if verdict.denial]
        audit = {"break-glass": "true"} if break_glass else {}
        if any(not verdict.enforced for verdict in denials):
            audit["dry-run"] = "true"
        enforced = [verdict.denial for verdict in denials if verdict.enforced]
        if enforced and not break_glass:
            return _Outcome(". ".join(enforced), audit)
        if not denials:
            return _Outcome("", audit)
        audit["overridden-verification-result"] = "".join(
            f"'{verdict.image}' : {verdict.denial}\n" for verdict in denials
        )
        why = "break-glass" if break_glass else "dry run"
        warning = f"{why}: Binary Authorization's policy denies {len(denials)} of the pod's images"
        return _Outcome("", audit, (warning,))


def _images(spec: "_Part") -> Iterator[str]:
    """What a pod would run or mount, containers of every kind."""
    if not spec.parts("containers"):
        raise _Malformed("there are no containers")
    for field_name in _CONTAINERS:
        for container in spec.parts(field_name):
            yield container.image("image")
    # https://kubernetes.io/docs/tasks/configure-pod-container/image-volumes/
    for volume in spec.parts("volumes"):
        if volume.has("image"):
            yield volume.part("image").image("reference")


@dataclass(frozen=True, slots=True)
class _Outcome:
    """An answer before it has a form; with a denial it is no."""

    denial: str = ""
    audit: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def as_status(self) -> dict[str, Any]:
        said: dict[str, Any] = {"allowed": not self.denial}
        if self.denial:
            said["reason"] = self.denial
        return said | self._annotations()

    def as_response(self) -> dict[str, Any]:
        said: dict[str, Any] = {"allowed": not self.denial}
        if self.denial:
            # The reason is what kubectl shows of GKE's denials, in brackets.
            said["status"] = {"code": 403, "reason": "VIOLATES_POLICY", "message": self.denial}
        if self.warnings:
            said["warnings"] = list(self.warnings)
        return said | self._annotations()

    def _annotations(self) -> dict[str, Any]:
        return {"auditAnnotations": dict(self.audit)} if self.audit else {}


class _Malformed(Exception):
    """A review that cannot be read; the message says what is wrong with it, in one line."""


@dataclass(frozen=True, slots=True)
class _Part:
    """A mapping of the review and where it stands; what is null is not there."""

    where: str
    fields: Mapping[str, Any]

    def has(self, key: str) -> bool:
        return self.fields.get(key) is not None

    def part(self, key: str) -> "_Part":
        """The mapping of that key, empty if there is none."""
        return self._of(key, self.fields.get(key) if self.has(key) else {})

    def parts(self, key: str) -> list["_Part"]:
        """The list of mappings of that key, empty if there is none."""
        value = self.fields[key] if self.has(key) else []
        if not isinstance(value, list):
            raise _Malformed(f"{self._name(key)} is not a list")
        return [self._of(f"{key}[{index}]", item) for index, item in enumerate(value)]

    def text(self, key: str) -> str:
        """The text of that key, empty if there is none."""
        value = self.fields[key] if self.has(key) else ""
        if not isinstance(value, str):
            raise _Malformed(f"{self._name(key)} is not a text")
        return value

    def image(self, key: str) -> str:
        """The text of that key, in characters that an image's name can have."""
        value = self.text(key)
        if _IMAGE.fullmatch(value) is None:
            raise _Malformed(f"{self._name(key)} is not the name of an image")
        return value

    def _of(self, key: str, value: Any) -> "_Part":
        if not isinstance(value, dict):
            raise _Malformed(f"{self._name(key)} is not an object")
        return _Part(self._name(key), value)

    def _name(self, key: str) -> str:
        return f"{self.where}.{key}".removeprefix(".")


def _load(body: bytes) -> _Part:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        raise _Malformed("it is not JSON") from None
    if not isinstance(document, dict):
        raise _Malformed("it is not an object")
    return _Part("", document)


def _typed(form: tuple[str, str], **fields: Any) -> dict[str, Any]:
    return {"apiVersion": form[0], "kind": form[1]} | fields


def _dump(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document).encode() + b"\n"


def _error(status: int, message: str) -> tuple[int, bytes]:
    return status, _dump({"error": {"code": status, "message": message}})
