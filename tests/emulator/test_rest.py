"""The REST side: every route and every method, against what gRPC says."""

import json
import re
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.api_core import exceptions
from google.cloud import binaryauthorization_v1beta1 as beta
from google.cloud.binaryauthorization_v1beta1.services.binauthz_management_service_v1_beta1.transports.rest_base import (  # noqa: E501
    _BaseBinauthzManagementServiceV1Beta1RestTransport,
)
from google.protobuf.json_format import MessageToDict

from step.emulator import Emulator, Seed
from step.emulator.routes import Route, Routes, routes_of
from step.emulator.rpc import methods_of
from tests.emulator.rest import SERVICES, RestClients, ask, rest_clients
from tests.emulator.world import (
    ATTESTOR,
    DIGEST,
    KEY,
    NOTE,
    PROJECT,
    URI,
    Clients,
    FakeClock,
    crc32c,
    payload_for,
)

ROUTES = [route for service in SERVICES for route in routes_of(service)]
TABLE = Routes(SERVICES)
LOCATION = f"{PROJECT}/locations/global"
BUILDS = "builds: [{id: b, projectId: p, status: SUCCESS, buildTriggerId: t}]"
VARIABLE = re.compile(r"\{([\w.]+)(?:=([^}]+))?\}")


@pytest.fixture
def rest(emulator: Emulator) -> Iterator[RestClients]:
    with rest_clients(emulator) as made:
        yield made


def filled(template: str) -> str:
    """A template's value with something in every place."""
    numbers = iter(range(1, 10))
    return re.sub(r"\*", lambda _: f"a{next(numbers)}", template)


def asked_for(route: Route) -> tuple[str, dict[str, str]]:
    """A path of the route, and the fields in it."""
    fields = {name: filled(template or "*") for name, template in VARIABLE.findall(route.template)}
    return VARIABLE.sub(lambda match: fields[match[1]], route.template), fields


def shown(route: Route) -> str:
    return f"{route.verb} {route.template}"


def outcome(call: Any, request: Any) -> tuple[bytes, tuple[str, str] | None]:
    """What a call over gRPC answers, or the status and message that it is refused with."""
    try:
        return call(request), None
    except grpc.RpcError as refused:
        details: Any = refused
        return b"", (details.code().name, details.details())


# Routes


def test_every_method_has_a_route() -> None:
    methods = {method.name for service in SERVICES for method in methods_of(service)}
    assert {route.method.name for route in ROUTES} == methods


@pytest.mark.parametrize("route", ROUTES, ids=shown)
def test_a_path_leads_to_its_method_with_its_fields(route: Route) -> None:
    path, fields = asked_for(route)
    for given_path in (path, path + "/"):
        actual = TABLE.find(route.verb, given_path)
        assert actual is not None
        assert (actual.route.method.name, actual.variables) == (route.method.name, fields)
    assert TABLE.find(route.verb, path + "/more/of/it") is None
    assert TABLE.find("OPTIONS", path) is None


@pytest.mark.parametrize("route", ROUTES, ids=shown)
def test_a_route_answers_as_grpc_does(route: Route, clock: FakeClock) -> None:
    path, fields = asked_for(route)
    request = route.method.request.pb(route.method.request())
    if route.body not in ("", "*"):
        getattr(request, route.body).SetInParent()
    for name, value in fields.items():
        *parents, last = name.split(".")
        target = request
        for parent in parents:
            target = getattr(target, parent)
        setattr(target, last, value)
    with Emulator(now=clock.now) as each, Emulator(now=clock.now) as other:
        got = ask(each, route.verb, path, {} if route.body else None)
        with grpc.insecure_channel(other.grpc_address) as channel:
            call: Any = channel.unary_unary(
                route.method.path, type(request).SerializeToString, lambda data: data
            )
            data, refused = outcome(call, request)
        if refused:
            error = got.document["error"]
            assert (error["status"], error["message"]) == refused
        else:
            assert got.status == 200
            # Nothing is there, so of all answers only the policy's says something.
            assert bool(data) == bool(got.document) == (route.method.name[-6:] == "Policy")
        assert [c.method for c in each.calls] == [c.method for c in other.calls]


def test_the_older_versions_are_as_google_has_them() -> None:
    transport: Any = _BaseBinauthzManagementServiceV1Beta1RestTransport
    older = [route for route in ROUTES if "/v1beta1/" in route.template]
    compared = set()
    for route in older:
        if theirs := getattr(transport, f"_Base{route.method.name}", None):
            compared.add(route.method.name)
            [option] = theirs._get_http_options()
            ours = (route.verb.lower(), route.template, route.body)
            assert ours == (option["method"], option["uri"], option.get("body", ""))
    assert len(compared) == 7


@pytest.mark.parametrize(
    ("verb", "path"),
    [
        ("GET", "/"),
        ("GET", "/v1/projects/p/attestors/a/b"),
        ("GET", f"/v1/{KEY}:nothing"),
        ("GET", f"/v1beta1/{KEY}"),
        ("PATCH", f"/v1/{ATTESTOR}"),
    ],
)
def test_what_is_no_route_is_not_found(emulator: Emulator, verb: str, path: str) -> None:
    answer = ask(emulator, verb, path)
    assert (answer.status, answer.error[:2]) == (404, (404, "NOT_FOUND"))
    assert list(emulator.calls) == []


def test_a_project_may_have_a_colon_and_a_path_may_be_percent_encoded() -> None:
    for path in (
        "/v1/projects/example.com:p/attestors/a",
        "/v1/projects/example.com%3Ap/attestors/a",
    ):
        actual = TABLE.find("GET", path)
        assert actual is not None
        assert actual.variables == {"name": "projects/example.com:p/attestors/a"}


# Methods, by Google's clients


def test_keys(rest: RestClients, clients: Clients) -> None:
    ring = rest.ask(
        rest.kms.create_key_ring, {"parent": LOCATION, "key_ring_id": "x", "key_ring": {}}
    )
    assert ring == rest.ask(rest.kms.get_key_ring, {"name": ring.name})
    assert ring == clients.kms.get_key_ring(name=ring.name)
    rings = list(rest.ask(rest.kms.list_key_rings, {"parent": LOCATION, "page_size": 1}))
    assert rings == list(clients.kms.list_key_rings(parent=LOCATION))
    assert len(rings) == 2
    wanted = {
        "purpose": "ASYMMETRIC_SIGN",
        "version_template": {"algorithm": "EC_SIGN_P384_SHA384"},
        "labels": {"a": "b"},
    }
    key = rest.ask(
        rest.kms.create_crypto_key,
        {"parent": ring.name, "crypto_key_id": "k", "crypto_key": wanted},
    )
    assert key.labels == {"a": "b"}
    assert key == rest.ask(rest.kms.get_crypto_key, {"name": key.name})
    assert key == clients.kms.get_crypto_key(name=key.name)
    assert list(rest.ask(rest.kms.list_crypto_keys, {"parent": ring.name})) == [key]
    version = rest.ask(rest.kms.create_crypto_key_version, {"parent": key.name})
    assert version == rest.ask(rest.kms.get_crypto_key_version, {"name": version.name})
    versions = list(rest.ask(rest.kms.list_crypto_key_versions, {"parent": key.name}))
    assert versions == list(clients.kms.list_crypto_key_versions(parent=key.name))
    assert versions[-1] == version
    public = rest.ask(rest.kms.get_public_key, {"name": KEY})
    assert public == clients.kms.get_public_key(name=KEY)
    der = rest.ask(rest.kms.get_public_key, {"name": KEY, "public_key_format": "DER"})
    assert (
        der.public_key
        == clients.kms.get_public_key({"name": KEY, "public_key_format": "DER"}).public_key
    )
    signed = rest.ask(
        rest.kms.asymmetric_sign,
        {"name": KEY, "digest": {"sha256": bytes(32)}, "digest_crc32c": crc32c(bytes(32))},
    )
    assert signed.verified_digest_crc32c
    assert signed.signature_crc32c == crc32c(signed.signature)
    for method, request, state in (
        (
            rest.kms.update_crypto_key_version,
            {
                "crypto_key_version": {"name": version.name, "state": "DISABLED"},
                "update_mask": {"paths": ["state"]},
            },
            "DISABLED",
        ),
        (rest.kms.destroy_crypto_key_version, {"name": version.name}, "DESTROY_SCHEDULED"),
        (rest.kms.restore_crypto_key_version, {"name": version.name}, "DISABLED"),
    ):
        changed = rest.ask(method, request)
        assert changed.state.name == state
        assert changed == clients.kms.get_crypto_key_version(name=version.name)
    assert rest.asked == {method.name for method in methods_of(SERVICES[0])}


def test_notes_and_occurrences(rest: RestClients, clients: Clients, clock: FakeClock) -> None:
    note = {"attestation": {"hint": {"human_readable_name": "é"}}}
    made = rest.ask(rest.grafeas.create_note, {"parent": PROJECT, "note_id": "m", "note": note})
    assert made == rest.ask(rest.grafeas.get_note, {"name": made.name})
    assert made == clients.grafeas.get_note(name=made.name)
    more = rest.ask(
        rest.grafeas.batch_create_notes, {"parent": PROJECT, "notes": {"m2": note, "m3": note}}
    )
    assert {each.name for each in more.notes} == {f"{PROJECT}/notes/m2", f"{PROJECT}/notes/m3"}
    changed = rest.ask(
        rest.grafeas.update_note,
        {
            "name": made.name,
            "note": {"short_description": "s", "long_description": "l"},
            "update_mask": {"paths": ["short_description"]},
        },
    )
    assert (changed.short_description, changed.long_description) == ("s", "")
    assert changed == clients.grafeas.get_note(name=made.name)
    rest.ask(rest.grafeas.delete_note, {"name": f"{PROJECT}/notes/m3"})
    notes = list(rest.ask(rest.grafeas.list_notes, {"parent": PROJECT, "page_size": 2}))
    assert notes == list(clients.grafeas.list_notes(parent=PROJECT))
    assert len(notes) == 3

    occurrence = {"resource_uri": URI, "note_name": NOTE, "attestation": clients.attestation()}
    created = rest.ask(
        rest.grafeas.create_occurrence, {"parent": PROJECT, "occurrence": occurrence}
    )
    name = {"name": created.name}
    assert created == rest.ask(rest.grafeas.get_occurrence, name)
    assert created == clients.grafeas.get_occurrence(name)
    assert rest.ask(rest.grafeas.get_occurrence_note, name).name == NOTE
    batch = rest.ask(
        rest.grafeas.batch_create_occurrences,
        {"parent": PROJECT, "occurrences": [occurrence | {"resource_uri": f"{URI[:-1]}0"}]},
    )
    updated = rest.ask(
        rest.grafeas.update_occurrence,
        name | {"occurrence": {"remediation": "none"}, "update_mask": {"paths": ["remediation"]}},
    )
    assert updated == clients.grafeas.get_occurrence(name)
    assert updated.remediation == "none"
    clock.advance(clock.time - clock.time.replace(second=0))
    for text in ("", f'resourceUrl="{URI}"', f'has_suffix(resourceUrl, "{DIGEST}")'):
        listed = list(rest.ask(rest.grafeas.list_note_occurrences, {"name": NOTE, "filter": text}))
        assert [each.name for each in listed] == clients.listed(text)
        assert updated in listed
        assert (batch.occurrences[0] in listed) == (not text)
    request = {"parent": PROJECT, "filter": 'kind="ATTESTATION"', "page_size": 1}
    both = list(rest.ask(rest.grafeas.list_occurrences, request))
    assert both == list(clients.grafeas.list_occurrences(request))
    assert len(both) == 2
    rest.ask(rest.grafeas.delete_occurrence, name)
    with pytest.raises(exceptions.NotFound):
        rest.ask(rest.grafeas.get_occurrence, name)
    assert rest.asked == {method.name for method in methods_of(SERVICES[1])}


def test_attestors_policies_and_validation(rest: RestClients, clients: Clients) -> None:
    note = {"note_reference": NOTE}
    made = rest.ask(
        rest.binauthz.create_attestor,
        {
            "parent": PROJECT,
            "attestor_id": "b",
            "attestor": {"user_owned_grafeas_note": note, "description": "d"},
        },
    )
    assert made == rest.ask(rest.binauthz.get_attestor, {"name": made.name})
    assert made == clients.binauthz.get_attestor(name=made.name)
    made.description = "other"
    updated = rest.ask(rest.binauthz.update_attestor, {"attestor": made})
    assert updated == clients.binauthz.get_attestor(name=made.name)
    assert updated.description == "other"
    attestors = list(rest.ask(rest.binauthz.list_attestors, {"parent": PROJECT, "page_size": 1}))
    assert attestors == list(clients.binauthz.list_attestors(parent=PROJECT))
    assert len(attestors) == 2
    rest.ask(rest.binauthz.delete_attestor, {"name": made.name})
    assert len(list(clients.binauthz.list_attestors(parent=PROJECT))) == 1

    policy = rest.ask(rest.binauthz.get_policy, {"name": f"{PROJECT}/policy"})
    assert policy == clients.binauthz.get_policy(name=f"{PROJECT}/policy")
    policy.default_admission_rule.evaluation_mode = "REQUIRE_ATTESTATION"
    policy.default_admission_rule.require_attestations_by = [ATTESTOR]
    policy.cluster_admission_rules["europe-west3.c"] = policy.default_admission_rule
    stored = rest.ask(rest.binauthz.update_policy, {"policy": policy})
    assert stored == clients.binauthz.get_policy(name=f"{PROJECT}/policy")
    assert list(stored.cluster_admission_rules) == ["europe-west3.c"]

    attestation = clients.attestation()
    request = {
        "attestor": ATTESTOR,
        "attestation": attestation,
        "occurrence_note": NOTE,
        "occurrence_resource_uri": URI,
    }
    verdict = rest.ask(rest.validation.validate_attestation_occurrence, request)
    assert verdict == clients.validate(attestation)
    assert verdict.result.name == "VERIFIED"
    attestation.serialized_payload = payload_for("sha256:" + "0" * 64)
    verdict = rest.ask(rest.validation.validate_attestation_occurrence, request)
    assert verdict == clients.validate(attestation)
    assert verdict.result.name == "ATTESTATION_NOT_VERIFIABLE"
    methods = [*methods_of(SERVICES[2]), *methods_of(SERVICES[3])]
    assert rest.asked == {method.name for method in methods}


def test_builds() -> None:
    with Emulator(Seed.parse(BUILDS)) as emulator, rest_clients(emulator) as rest:
        clients = Clients.of(emulator)
        by_id = {"project_id": "p", "id": "b"}
        build = rest.ask(rest.builds.get_build, by_id)
        assert build == clients.builds.get_build(by_id)
        listed = {"project_id": "p", "filter": 'status="SUCCESS"'}
        assert list(rest.ask(rest.builds.list_builds, listed)) == [build]
        # Google's client asks by project and id whenever they are given; by name is another path.
        actual = ask(emulator, "GET", f"/v1/{LOCATION}/builds/b").document
        assert actual == MessageToDict(type(build).pb(build))
        assert ask(emulator, "GET", f"/v1/{LOCATION}/builds").document == {"builds": [actual]}
        assert rest.asked == {method.name for method in methods_of(SERVICES[4])}
        clients.channel.close()


@pytest.mark.parametrize("version", ["v1beta1", "v1alpha2"])
def test_older_versions_call_the_note_by_its_old_name(
    emulator: Emulator, clients: Clients, version: str
) -> None:
    body = {"userOwnedDrydockNote": {"noteReference": NOTE}, "description": "d"}
    path = f"/{version}/{PROJECT}/attestors"
    made = ask(emulator, "POST", f"{path}?attestorId=b", body)
    assert made.status == 200, made
    attestor = beta.Attestor.from_json(json.dumps(made.document))
    assert attestor.user_owned_drydock_note.note_reference == NOTE
    stored = clients.binauthz.get_attestor(name=attestor.name)
    assert stored.user_owned_grafeas_note.note_reference == NOTE
    assert ask(emulator, "GET", f"{path}/b").document == made.document
    assert made.document in ask(emulator, "GET", path).document["attestors"]
    made.document["description"] = "other"
    updated = ask(emulator, "PUT", f"{path}/b", made.document)
    assert (updated.status, updated.document["description"]) == (200, "other")
    for wrong, place in (
        ("userOwnedGrafeasNote", f"/{version}/{PROJECT}/attestors?attestorId=c"),
        ("userOwnedDrydockNote", f"/v1/{PROJECT}/attestors?attestorId=c"),
    ):
        refused = ask(emulator, "POST", place, {wrong: {"noteReference": NOTE}})
        assert refused.error[:2] == (400, "INVALID_ARGUMENT")
        assert "no field named" in refused.error[2]
