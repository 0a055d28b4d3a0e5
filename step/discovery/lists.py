"""Lists of many images: lines, JSON lines, receipts, and what runs in a cluster."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from step.errors import BadInput
from step.model.image import Digest, ImageName, ImageRef
from step.model.quoting import quoted
from step.model.strict import load_json, load_object

_FORM = (
    "A line is registry/repository@sha256:…, a digest alone, or JSON with an image; # begins a "
    "comment."
)
# Of our own documents, and of what others write with the same keys.
_LISTS = ("receipts", "verdicts", "decisions", "attestations", "images")
_STATUSES = ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses")


def read_list(lines: Iterable[str], source: str) -> Iterator[tuple[str, str]]:
    """The images of a list, one a line, as digest and name; the name is empty where none is given.

    A line is a reference by digest, a digest alone, or a JSON object that has either under `image`
    or `digest`, as receipts have. A list that is one JSON document, `{"receipts": …}` for example,
    is read as that. Raises BadInput naming source and line.
    """
    numbered = enumerate(lines, 1)
    for number, line in numbered:
        text = line.strip().removeprefix("\ufeff")
        if not text or text.startswith("#"):
            continue
        known = load_object(text) if text[0] == "{" else None
        if text[0] == "[" or (text[0] == "{" and _is_document(known)):
            rest = "".join(following for _, following in numbered)
            yield from _document(line + rest, source)
            return
        try:
            yield _image(known or text)
        except BadInput as error:
            raise BadInput(
                f"{source}: line {number}: {error.message}", error.hint or _FORM
            ) from None


def read_pods(text: str, source: str) -> tuple[list[tuple[str, str]], list[str]]:
    """What runs, by `kubectl get pods -A -o json`: images as digest and name, and the others.

    The others are containers whose digest the cluster does not tell: they have not started, or the
    image was never in a registry. Raises BadInput for what is no list of pods.
    """
    document = load_object(text)
    if document is None or document.get("kind") not in ("List", "PodList", "Pod"):
        raise BadInput(
            f"{source} is not a list of pods", "Write it with: kubectl get pods -A -o json."
        )
    pods = [document] if document["kind"] == "Pod" else document.get("items")
    running: dict[tuple[str, str], None] = {}
    others: list[str] = []
    for pod in pods if isinstance(pods, list) else ():
        for status in _container_statuses(pod):
            image = _by_digest(str(status.get("imageID", "")))
            if image is None:
                others.append(str(status.get("image", "")))
            else:
                running[image] = None
    return list(running), others


def _is_document(known: dict[str, Any] | None) -> bool:
    """Whether a line in braces is no image by itself, but begins a document, or is one."""
    return known is None or ("image" not in known and any(key in known for key in _LISTS))


def _document(text: str, source: str) -> Iterator[tuple[str, str]]:
    try:
        document = load_json(text)
    except ValueError:
        raise BadInput(f"{source} is not JSON that can be read", _FORM) from None
    if isinstance(document, dict):
        if document.get("kind") in ("List", "PodList"):
            raise BadInput(f"{source} is a list of pods", "Give it with --from-pods.")
        listed = next((document[key] for key in _LISTS if key in document), [document])
        document = listed
    if not isinstance(document, list):
        raise BadInput(f"{source} holds no list of images", _FORM)
    for number, entry in enumerate(document, 1):
        try:
            yield _image(entry)
        except BadInput as error:
            raise BadInput(f"{source}: image {number}: {error.message}", error.hint) from None


def _image(entry: Any) -> tuple[str, str]:
    """An image as digest and name, from a text or an object."""
    if isinstance(entry, dict):
        entry = entry.get("image") or entry.get("digest")
    if not isinstance(entry, str):
        raise BadInput("it has neither an image nor a digest", _FORM)
    if entry.startswith("sha256:"):
        return str(Digest.parse(entry)), ""
    image = ImageRef.parse(entry)
    return str(image.digest), str(image.name)


def _container_statuses(pod: Any) -> Iterator[dict[str, Any]]:
    """PodStatus of https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/."""
    status = pod.get("status") if isinstance(pod, dict) else None
    for key in _STATUSES:
        for container in (status or {}).get(key) or ():
            if isinstance(container, dict):
                yield container


def _by_digest(image_id: str) -> tuple[str, str] | None:
    """The image of an imageID: `docker-pullable://NAME@sha256:…`, or without the scheme.

    One without a name is the digest of a config, which no registry knows.
    """
    name, at, digest = image_id.rpartition("://")[2].partition("@")
    if not at:
        return None
    try:
        parsed = str(Digest.parse(digest))
    except BadInput:
        return None
    try:
        return parsed, str(ImageName.parse(name))
    except BadInput:  # docker leaves its own registry out; the old payload has the whole name
        return parsed, ""


def shown(others: Iterable[str]) -> str:
    """A few of the containers that are told by no digest, for a warning."""
    names = sorted(set(others))
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(map(quoted, names[:3])) + more
