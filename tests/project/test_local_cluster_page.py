"""docs/local-cluster.md describes the endpoint that there is."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import typer.main
import yaml

import step.cli
from step.emulator import AdmissionPort, Seed
from step.emulator.tls import NAMES
from tests.reviews import Endpoint, admission_review, image_review, pod
from tests.world import World

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "local-cluster.md").read_text()
SEED, WEBHOOK, PLUGIN, KUBECONFIG = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
CONSOLE = "".join(re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL))
DIGEST = "sha256:" + "0123456789abcdef" * 4
IMAGE = f"docker.io/library/nginx@{DIGEST}"
TAGGED = "docker.io/library/nginx:stable"


def webhook() -> dict[str, Any]:
    document = yaml.safe_load(WEBHOOK)
    assert (document["apiVersion"], document["kind"]) == (
        "admissionregistration.k8s.io/v1",
        "ValidatingWebhookConfiguration",
    )
    [actual] = document["webhooks"]
    assert isinstance(actual, dict)
    return actual


def path_of(url: str) -> str:
    """A webhook's URL may have no query: Kubernetes adds its own."""
    parts = urlsplit(url)
    assert (parts.scheme, parts.query, parts.fragment) == ("https", "", "")
    assert parts.netloc == "HOST:8443"
    return parts.path


def test_the_webhook_fails_closed_and_asks_for_what_is_served() -> None:
    actual = webhook()
    assert actual["failurePolicy"] == "Fail"
    assert actual["sideEffects"] == "None"
    assert actual["matchPolicy"] == "Equivalent"
    assert actual["admissionReviewVersions"] == ["v1"]
    [rule] = actual["rules"]
    assert rule["operations"] == ["CREATE", "UPDATE"]
    assert rule["resources"] == ["pods", "pods/ephemeralcontainers"]
    [selector] = actual["namespaceSelector"]["matchExpressions"]
    assert (selector["operator"], selector["values"][0]) == ("NotIn", "kube-system")
    [plugin] = yaml.safe_load(PLUGIN)["plugins"]
    assert plugin["configuration"]["imagePolicy"]["defaultAllow"] is False


def test_both_ways_ask_the_same_url() -> None:
    [cluster] = yaml.safe_load(KUBECONFIG)["clusters"]
    assert cluster["cluster"]["server"] == webhook()["clientConfig"]["url"]


def test_the_names_of_the_table_are_in_the_made_certificate() -> None:
    table = re.findall(r"^\| (?:on|in) .*?\| (.*?) \|", PAGE, re.MULTILINE)
    hosts = [host for cell in table for host in re.findall(r"`([\w.]+)`", cell)]
    assert hosts == ["127.0.0.1", "host.docker.internal", "172.18.0.1"]
    assert set(hosts[:2]) < set(NAMES)


def test_every_option_is_one_of_the_emulators() -> None:
    command: Any = typer.main.get_command(step.cli.app)
    known = {name for param in command.commands["emulator"].params for name in param.opts}
    named = set(re.findall(r"(?<![\w-])--(?:admission-(?!control)|tls-|seed|port)[\w-]*", PAGE))
    assert {"--admission-port", "--admission-ca-file", "--tls-key-file"} < named <= known


def test_the_walk_is_as_it_is_told(make_world: Callable[..., World], tmp_path: Path) -> None:
    settings = AdmissionPort(authority_file=tmp_path / "ca.pem")
    Seed.parse(SEED)
    world = make_world(yaml.safe_load(SEED), admission=settings)
    endpoint = Endpoint(world.emulator.admission_address, tmp_path / "ca.pem")
    path = path_of(webhook()["clientConfig"]["url"])

    def kubectl_run(image: str, **labels: str) -> str:
        """What kubectl would print of the answer."""
        response = endpoint.admit(admission_review(pod(image, labels=labels)), path)
        assert (
            endpoint.review(image_review(image), path)["allowed"] is response["allowed"] or labels
        )
        told = [f"Warning: {warning}" for warning in response.get("warnings", ())]
        if not response["allowed"]:
            status = response["status"]
            name = webhook()["name"]
            told.append(
                f'Error from server ({status["reason"]}): admission webhook "{name}" denied the '
                f"request: {status['message']}"
            )
        return "".join(f"{line}\n" for line in told)

    page = CONSOLE.replace("sha256:…", DIGEST)
    [attest] = re.findall(r"^\$ binauthz-attest (attest .*)$", page, re.MULTILINE)
    runs = re.findall(r"^\$ kubectl run .*\n((?:(?!\$).*\n)*)", page, re.MULTILINE)
    first = kubectl_run(IMAGE)
    assert world.run(*attest.replace("$IMAGE", IMAGE).split()).code == 0
    label, _, value = re.findall(r"--labels=(.*)", page)[0].partition("=")
    assert runs == [
        first,
        kubectl_run(IMAGE),
        kubectl_run(TAGGED),
        kubectl_run(TAGGED, **{label: value}),
    ]
    assert [bool(run) for run in runs] == [True, False, True, True]


@pytest.mark.parametrize("block", [SEED, WEBHOOK, PLUGIN, KUBECONFIG])
def test_no_key_is_given_twice(block: str) -> None:
    """YAML would keep the last one only."""
    for node in _mappings(yaml.compose(block)):
        keys = [key.value for key, _ in node.value]
        assert len(keys) == len(set(keys))


def _mappings(node: yaml.Node | None) -> list[yaml.MappingNode]:
    match node:
        case yaml.MappingNode():
            inner = [mapping for _, value in node.value for mapping in _mappings(value)]
            return [node, *inner]
        case yaml.SequenceNode():
            return [mapping for item in node.value for mapping in _mappings(item)]
    return []
