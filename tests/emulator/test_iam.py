"""IAM policies of resources: kept with care, over gRPC and REST, and granting nothing."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import grpc
import pytest
from google.api_core import exceptions
from google.cloud import binaryauthorization_v1 as ba
from google.cloud.binaryauthorization_v1.services.binauthz_management_service_v1.transports import (
    rest_base as ba_rest,
)
from google.cloud.kms_v1.services.key_management_service.transports import rest_base as kms_rest
from google.iam.v1 import iam_policy_pb2, policy_pb2

from step.emulator import Emulator, EmulatorError, Seed
from step.emulator.binary_authorization import BinaryAuthorization
from step.emulator.grafeas import Grafeas
from step.emulator.iam import iam_services
from step.emulator.kms import KeyManagement
from step.emulator.routes import Routes
from tests.emulator.rest import Answer, ask, rest_clients
from tests.emulator.world import ATTESTOR, NOTE, RING, SEED, URI, Clients, FakeClock

KEY = f"{RING}/cryptoKeys/k"
POLICY = "projects/p/policy"
OCCURRENCE = "projects/p/occurrences/o"
MIXED_IN = (RING, KEY, ATTESTOR, POLICY)
OWN = (NOTE, OCCURRENCE)
SOME = f"occurrences: [{{name: {OCCURRENCE}, noteName: {NOTE}, resourceUri: '{URI}', build: {{}}}}]"
ROLE = "roles/cloudkms.signerVerifier"
USER = "user:a@example.com"
ALLOW: dict[str, Any] = {"role": ROLE, "members": [USER]}
CONDITION = {"title": "soon over", "expression": 'request.time < timestamp("2030-01-01T00:00:00Z")'}
CONDITIONAL = ALLOW | {"condition": CONDITION}
UNSET = Answer(200, {"etag": "ACAB"})


@pytest.fixture
def emulator() -> Any:
    with Emulator(Seed.parse(SEED + SOME)) as running:
        yield running


def get(
    emulator: Emulator, resource: str = ATTESTOR, version: int | None = None, api: str = "v1"
) -> Answer:
    path = f"/{api}/{resource}:getIamPolicy"
    if resource in OWN:
        options = {} if version is None else {"options": {"requestedPolicyVersion": version}}
        return ask(emulator, "POST", path, options)
    query = "" if version is None else f"?options.requestedPolicyVersion={version}"
    return ask(emulator, "GET", path + query)


def put(emulator: Emulator, *bindings: Any, resource: str = ATTESTOR, **fields: Any) -> Answer:
    """Set a policy of these bindings; `mask` is the request's, other fields are the policy's."""
    mask = {"updateMask": fields.pop("mask")} if "mask" in fields else {}
    body = {"policy": {"bindings": list(bindings)} | fields} | mask
    return ask(emulator, "POST", f"/v1/{resource}:setIamPolicy", body)


def call(channel: grpc.Channel, path: str, request: Any, answer: Any) -> Any:
    unary: Any = channel.unary_unary(path, type(request).SerializeToString, answer.FromString)
    return unary(request)


# Every kind of resource


@pytest.mark.parametrize("resource", MIXED_IN + OWN)
def test_a_policy_is_empty_then_set_then_changed(emulator: Emulator, resource: str) -> None:
    assert get(emulator, resource) == UNSET
    first = put(emulator, ALLOW, resource=resource, etag="ACAB").document
    assert (first["version"], first["bindings"]) == (1, [ALLOW])
    assert get(emulator, resource).document == first
    other = {"role": "projects/p/roles/own", "members": ["allUsers"]}
    second = put(emulator, ALLOW, other, resource=resource, etag=first["etag"]).document
    assert second["bindings"] == [ALLOW, other]
    assert get(emulator, resource).document == second
    emptied = put(emulator, resource=resource).document
    assert "bindings" not in emptied
    assert len({UNSET.document["etag"], first["etag"], second["etag"], emptied["etag"]}) == 4
    for untouched in {*MIXED_IN, *OWN} - {resource}:
        assert get(emulator, untouched) == UNSET
    assert [(c.method, c.resource) for c in emulator.calls.writes()] == [
        ("SetIamPolicy", resource)
    ] * 3


@pytest.mark.parametrize("resource", MIXED_IN + OWN)
def test_over_grpc_it_is_the_same(emulator: Emulator, resource: str) -> None:
    service = "google.iam.v1.IAMPolicy"
    if resource in OWN:
        service = "google.devtools.containeranalysis.v1.ContainerAnalysis"
    policy = policy_pb2.Policy(bindings=[policy_pb2.Binding(role=ROLE, members=[USER])])
    asked = f"{'cloudkms' if resource in (RING, KEY) else 'binaryauthorization'}.things.use"
    asked = "containeranalysis.notes.get" if resource in OWN else asked
    with grpc.insecure_channel(emulator.grpc_address) as channel:
        made = call(
            channel,
            f"/{service}/SetIamPolicy",
            iam_policy_pb2.SetIamPolicyRequest(resource=resource, policy=policy),
            policy_pb2.Policy,
        )
        request = iam_policy_pb2.GetIamPolicyRequest(resource=resource)
        assert call(channel, f"/{service}/GetIamPolicy", request, policy_pb2.Policy) == made
        wanted = iam_policy_pb2.TestIamPermissionsRequest(resource=resource, permissions=[asked])
        answer = iam_policy_pb2.TestIamPermissionsResponse
        actual = call(channel, f"/{service}/TestIamPermissions", wanted, answer)
    assert list(actual.permissions) == [asked]
    assert get(emulator, resource).document["bindings"] == [ALLOW]
    assert next(each.path for each in emulator.calls) == f"/{service}/SetIamPolicy"


def test_googles_clients_have_the_methods(emulator: Emulator, clients: Clients) -> None:
    with rest_clients(emulator) as rest:
        sets: list[tuple[str, Any]] = [
            (ATTESTOR, clients.binauthz),
            (POLICY, rest.binauthz),
            (RING, clients.kms),
            (KEY, rest.kms),
        ]
        for resource, client in sets:
            policy = {"bindings": [ALLOW], "etag": b"\x00\x20\x01"}
            made = client.set_iam_policy(request={"resource": resource, "policy": policy})
            assert client.get_iam_policy(request={"resource": resource}) == made
            assert [list(binding.members) for binding in made.bindings] == [[USER]]
            with pytest.raises((exceptions.Aborted, exceptions.Conflict)):
                client.set_iam_policy(request={"resource": resource, "policy": policy})


def test_the_paths_are_as_google_has_them() -> None:
    transports: list[tuple[Any, tuple[str, ...]]] = [
        (kms_rest._BaseKeyManagementServiceRestTransport, (RING, KEY)),
        (ba_rest._BaseBinauthzManagementServiceV1RestTransport, (ATTESTOR, POLICY)),
    ]
    now = FakeClock().now
    authorization = BinaryAuthorization(now, lambda _: 1)
    table = Routes(iam_services(KeyManagement(now), Grafeas(now, timedelta(0)), authorization))
    for transport, resources in transports:
        for method in ("GetIamPolicy", "SetIamPolicy", "TestIamPermissions"):
            options = getattr(transport, f"_Base{method}")._get_http_options()
            theirs = {(o["method"].upper(), o["uri"], o.get("body", "")) for o in options}
            for resource in resources:
                verb = method[0].lower() + method[1:]
                asked = "GET" if method == "GetIamPolicy" else "POST"
                actual = table.find(asked, f"/v1/{resource}:{verb}")
                assert actual is not None
                route = actual.route
                assert route.method.name == method
                assert actual.variables == {"resource": resource}
                assert (route.verb, route.template, route.body) in theirs


def test_the_older_versions_of_binary_authorization(emulator: Emulator) -> None:
    made = put(emulator, ALLOW).document
    for version in ("v1beta1", "v1alpha2"):
        assert get(emulator, ATTESTOR, 3, api=version).document == made
        assert get(emulator, POLICY, api=version) == UNSET
    assert get(emulator, KEY, api="v1beta1").status == 404


# Resources


@pytest.mark.parametrize("resource", [f"{RING}x", f"{KEY}x", f"{ATTESTOR}x", f"{NOTE}x"])
def test_a_resource_that_is_not_there_has_no_policy(emulator: Emulator, resource: str) -> None:
    read = "POST" if resource.startswith(NOTE) else "GET"
    assert ask(emulator, read, f"/v1/{resource}:getIamPolicy").error[:2] == (404, "NOT_FOUND")
    assert put(emulator, ALLOW, resource=resource).error[:2] == (404, "NOT_FOUND")
    # Whoever asks what he may do learns that it is nothing.
    service = "containeranalysis" if resource.startswith(NOTE) else "cloudkms"
    service = "binaryauthorization" if resource.startswith(ATTESTOR) else service
    body = {"permissions": [f"{service}.things.use"]}
    assert ask(emulator, "POST", f"/v1/{resource}:testIamPermissions", body) == Answer(200, {})


def test_other_resources_have_none(emulator: Emulator) -> None:
    for name in (f"{RING}/importJobs/j", f"{KEY}/cryptoKeyVersions/1"):
        assert get(emulator, name).error[:2] == (404, "NOT_FOUND")
    with grpc.insecure_channel(emulator.grpc_address) as channel:
        for name in (f"{KEY}/cryptoKeyVersions/1", NOTE, ""):
            request = iam_policy_pb2.GetIamPolicyRequest(resource=name)
            with pytest.raises(grpc.RpcError) as caught:
                call(channel, "/google.iam.v1.IAMPolicy/GetIamPolicy", request, policy_pb2.Policy)
            error: Any = caught.value
            assert error.code() == grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("resource", [ATTESTOR, NOTE])
def test_a_policy_goes_with_its_resource(
    emulator: Emulator, clients: Clients, resource: str
) -> None:
    again: dict[str, Callable[[], Any]] = {
        ATTESTOR: lambda: clients.binauthz.create_attestor(
            parent="projects/p",
            attestor_id="a",
            attestor=ba.Attestor(
                user_owned_grafeas_note=ba.UserOwnedGrafeasNote(note_reference=NOTE)
            ),
        ),
        NOTE: lambda: ask(emulator, "POST", "/v1/projects/p/notes?noteId=n", {"build": {}}),
    }
    put(emulator, ALLOW, resource=resource)
    assert ask(emulator, "DELETE", f"/v1/{resource}").status == 200
    assert get(emulator, resource).status == 404
    again[resource]()
    assert get(emulator, resource) == UNSET


# Concurrency and versions


def test_a_stale_etag_changes_nothing(emulator: Emulator) -> None:
    made = put(emulator, ALLOW).document
    stale = put(emulator, etag="ACAB")
    assert stale.error[:2] == (409, "ABORTED")
    assert get(emulator).document == made
    # Without an etag, or without it in the mask, the last one wins.
    other = ALLOW | {"members": ["allUsers"]}
    assert put(emulator, other).document["bindings"] == [other]
    assert put(emulator, ALLOW, etag="ACAB", mask="bindings").document["bindings"] == [ALLOW]


@pytest.mark.parametrize("version", [-1, 2, 4])
def test_there_are_versions_0_1_and_3(emulator: Emulator, version: int) -> None:
    for answer in (put(emulator, ALLOW, version=version), get(emulator, version=version)):
        assert answer.error[:2] == (400, "INVALID_ARGUMENT")
        assert str(version) in answer.error[2]
    assert get(emulator) == UNSET


@pytest.mark.parametrize("version", [0, 1, 3])
def test_without_conditions_it_is_version_1(emulator: Emulator, version: int) -> None:
    made = put(emulator, ALLOW, version=version)
    assert made.document["version"] == 1
    assert get(emulator, version=version) == made


def test_conditions_take_version_3(emulator: Emulator) -> None:
    for version in (0, 1):
        refused = put(emulator, CONDITIONAL, version=version)
        assert refused.error[:2] == (400, "INVALID_ARGUMENT")
    made = put(emulator, ALLOW, CONDITIONAL, version=3).document
    assert (made["version"], made["bindings"]) == (3, [ALLOW, CONDITIONAL])
    assert get(emulator, version=3).document == made
    # Who asks for less sees the role under a name that cannot be set.
    for asked in (None, 0, 1):
        shown = get(emulator, version=asked).document
        assert shown["version"] == 1
        plain, hidden = shown["bindings"]
        assert plain == ALLOW
        assert hidden.keys() == {"role", "members"}
        assert hidden["role"].startswith(f"{ROLE}_withcond_")
        assert put(emulator, hidden).error[:2] == (400, "INVALID_ARGUMENT")
        # and with its etag, none of the conditions are lost
        lossy = put(emulator, ALLOW, etag=shown["etag"], version=1)
        assert lossy.error[:2] == (400, "INVALID_ARGUMENT")
    assert get(emulator, version=3).document == made
    assert put(emulator, ALLOW, version=1).document["bindings"] == [ALLOW]


def test_a_condition_says_something(emulator: Emulator) -> None:
    for condition in ({}, {"title": "empty"}):
        answer = put(emulator, ALLOW | {"condition": condition}, version=3)
        assert answer.error[:2] == (400, "INVALID_ARGUMENT")


# Bindings


@pytest.mark.parametrize(
    "member",
    [
        *("allUsers", "allAuthenticatedUsers", USER, "group:g@example.com", "domain:example.com"),
        "serviceAccount:builder@p.iam.gserviceaccount.com",
        "serviceAccount:p.svc.id.goog[space/account]",
        "principal://iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/subject/s",
        "principalSet://iam.googleapis.com/locations/global/workforcePools/p/group/g",
        "deleted:user:a@example.com?uid=123456789012345678901",
        "deleted:principal://iam.googleapis.com/locations/global/workforcePools/p/subject/s",
    ],
)
def test_members(emulator: Emulator, member: str) -> None:
    assert put(emulator, ALLOW | {"members": [member]}).document["bindings"][0]["members"] == [
        member
    ]


@pytest.mark.parametrize(
    "member",
    [
        *("", "a@example.com", "user:", "user:a", "user:@example.com", "user:a@", "allusers"),
        *("User:a@example.com", "user:a@example.com ", "user:a b@example.com", "group:g"),
        *("serviceAccount:", "serviceAccount:p.svc.id.goog[space]", "domain:", "domain:com"),
        *("domain:a@example.com", "principal://", "principal:a@example.com", "principalSet://x"),
        *("deleted:user:a@example.com", "projectOwner:p", "user:a@example.com\n", "allUsers:x"),
    ],
)
def test_what_is_no_member(emulator: Emulator, member: str) -> None:
    answer = put(emulator, ALLOW | {"members": [USER, member]})
    assert answer.error[:2] == (400, "INVALID_ARGUMENT")
    assert repr(member) in answer.error[2]
    assert get(emulator) == UNSET


@pytest.mark.parametrize(
    "role", ["roles/viewer", "projects/p/roles/my_role.x", "organizations/1/roles/r"]
)
def test_roles(emulator: Emulator, role: str) -> None:
    assert put(emulator, ALLOW | {"role": role}).document["bindings"][0]["role"] == role


@pytest.mark.parametrize(
    "role", ["", "viewer", "roles/", "roles/a b", "projects/roles/r", "folders/1/roles/r", "role/x"]
)
def test_what_is_no_role(emulator: Emulator, role: str) -> None:
    answer = put(emulator, ALLOW | {"role": role})
    assert answer.error[:2] == (400, "INVALID_ARGUMENT")
    assert repr(role) in answer.error[2]


def test_a_binding_binds_somebody(emulator: Emulator) -> None:
    answer = put(emulator, {"role": ROLE})
    assert answer.error == (400, "INVALID_ARGUMENT", f"The binding of {ROLE} has no members.")


def test_bindings_of_one_role_and_condition_are_one(emulator: Emulator) -> None:
    other = "user:b@example.com"
    made = put(
        emulator,
        {"role": ROLE, "members": [USER, other, USER]},
        CONDITIONAL,
        {"role": ROLE, "members": ["allUsers", other]},
        CONDITIONAL | {"members": [other]},
        CONDITIONAL | {"condition": CONDITION | {"title": "another"}},
        version=3,
    ).document
    assert made["bindings"] == [
        {"role": ROLE, "members": [USER, other, "allUsers"]},
        CONDITIONAL | {"members": [USER, other]},
        CONDITIONAL | {"condition": CONDITION | {"title": "another"}},
    ]


@pytest.mark.parametrize(("kind", "most"), [("user", 1500), ("group", 250)])
def test_a_policy_has_so_many_members(emulator: Emulator, kind: str, most: int) -> None:
    members = [f"{kind}:m{number}@example.com" for number in range(most)]
    assert put(emulator, ALLOW | {"members": members}).status == 200
    answer = put(emulator, ALLOW | {"members": members[1:]}, ALLOW | {"members": members[:2]})
    assert answer.error[:2] == (400, "INVALID_ARGUMENT")
    assert str(most) in answer.error[2]


def test_the_mask_says_what_is_set(emulator: Emulator) -> None:
    audit = [{"service": "allServices", "auditLogConfigs": [{"logType": "DATA_READ"}]}]
    assert "auditConfigs" not in put(emulator, ALLOW, auditConfigs=audit).document
    made = put(emulator, auditConfigs=audit, mask="auditConfigs,etag").document
    assert (made["auditConfigs"], made["bindings"]) == (audit, [ALLOW])
    other = ALLOW | {"members": ["allUsers"]}
    assert put(emulator, other, mask="bindings").document["auditConfigs"] == audit
    assert put(emulator, mask="nothing").error[:2] == (400, "INVALID_ARGUMENT")
    for wrong in ([{"service": "allServices"}], [audit[0] | {"service": ""}]):
        answer = put(emulator, auditConfigs=wrong, mask="auditConfigs")
        assert answer.error[:2] == (400, "INVALID_ARGUMENT")
    assert get(emulator).document["bindings"] == [other]


# Permissions


def test_everybody_may_do_everything(emulator: Emulator) -> None:
    asked = ["cloudkms.cryptoKeyVersions.useToSign", "cloudkms.cryptoKeys.get"]
    path = f"/v1/{KEY}:testIamPermissions"
    answer = ask(emulator, "POST", path, {"permissions": [*asked, asked[0]]})
    assert answer == Answer(200, {"permissions": asked})
    assert ask(emulator, "POST", path, {}) == Answer(200, {})


@pytest.mark.parametrize(
    "permission", ["", "cloudkms", "cloudkms.*", "cloudkms.cryptoKeys.*", "storage.objects.get"]
)
def test_what_is_no_permission_on_a_key(emulator: Emulator, permission: str) -> None:
    body = {"permissions": ["cloudkms.cryptoKeys.get", permission]}
    answer = ask(emulator, "POST", f"/v1/{KEY}:testIamPermissions", body)
    assert answer.error[:2] == (400, "INVALID_ARGUMENT")
    assert repr(permission) in answer.error[2]


@pytest.mark.parametrize(
    ("resource", "service", "method", "permission"),
    [
        (RING, "cloudkms", "SetIamPolicy", "keyRings.setIamPolicy"),
        (KEY, "cloudkms", "GetIamPolicy", "cryptoKeys.getIamPolicy"),
        (ATTESTOR, "binaryauthorization", "SetIamPolicy", "attestors.setIamPolicy"),
        (POLICY, "binaryauthorization", "GetIamPolicy", "policy.getIamPolicy"),
        (NOTE, "containeranalysis", "SetIamPolicy", "notes.setIamPolicy"),
        (NOTE, "containeranalysis", "GetIamPolicy", "notes.setIamPolicy"),
        (OCCURRENCE, "containeranalysis", "TestIamPermissions", "occurrences.list"),
        (ATTESTOR, "binaryauthorization", "TestIamPermissions", None),
    ],
)
def test_a_denial_names_api_and_permission(
    emulator: Emulator, resource: str, service: str, method: str, permission: str | None
) -> None:
    def refused() -> dict[str, Any]:
        verb = method[0].lower() + method[1:]
        read = method == "GetIamPolicy" and resource not in OWN
        answer = ask(emulator, "GET" if read else "POST", f"/v1/{resource}:{verb}")
        assert answer.error[:2] == (403, "PERMISSION_DENIED")
        error: dict[str, Any] = answer.document["error"]
        return error

    emulator.fail(f"{method}=PERMISSION_DENIED:1", f"{method}=SERVICE_DISABLED:1")
    denied, disabled = refused(), refused()
    if permission is None:
        assert "details" not in denied
    else:
        assert denied["details"][0]["metadata"] == {
            "permission": f"{service}.{permission}",
            "resource": resource,
        }
    assert disabled["details"][0]["metadata"]["service"] == f"{service}.googleapis.com"
    assert get(emulator, resource) == UNSET


def test_a_policy_grants_and_takes_nothing(emulator: Emulator, clients: Clients) -> None:
    put(emulator, resource=KEY)
    assert clients.sign(b"payload")


# The seed


def test_policies_are_seeded() -> None:
    text = f"""{SEED}{SOME}
iam_policies:
  {ATTESTOR}: {{etag: BwAAAAAAAAE=, bindings: [{{role: {ROLE}, members: ["{USER}"]}}]}}
  {NOTE}:
    version: 3
    bindings: [{{role: {ROLE}, members: [allUsers], condition: {{expression: "true"}}}}]
    auditConfigs: [{{service: allServices, auditLogConfigs: [{{logType: DATA_READ}}]}}]
  {POLICY}: {{}}
"""
    with Emulator(Seed.parse(text)) as emulator:
        assert get(emulator).document["bindings"] == [ALLOW]
        note = get(emulator, NOTE, 3).document
        assert (note["version"], "auditConfigs" in note) == (3, True)
        assert get(emulator, KEY) == UNSET
        assert len(emulator.calls.writes()) == 0


@pytest.mark.parametrize(
    ("policies", "problem"),
    [
        (f"{{{ATTESTOR}: {{bindings: [{{role: viewer, members: [allUsers]}}]}}}}", "'viewer'"),
        (f"{{{ATTESTOR}x: {{}}}}", f"IAM policy of {ATTESTOR}x: Attestor {ATTESTOR}x not found."),
        ("{projects/p: {}}", "'projects/p' is of no kind"),
        (f"{{{NOTE}: {{rules: []}}}}", f"seed.iam_policies.{NOTE}: "),
        ("[]", "seed.iam_policies: must be a mapping of resource names"),
    ],
)
def test_a_bad_policy_in_the_seed_is_one_line(policies: str, problem: str) -> None:
    with pytest.raises(EmulatorError) as caught:
        Emulator(Seed.parse(f"{SEED}\niam_policies: {policies}"))
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)
