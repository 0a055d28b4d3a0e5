"""Every way in which the emulator goes wrong on purpose."""

from datetime import timedelta
from typing import Any

import grpc
import pytest
from google.api_core import exceptions
from google.cloud import kms_v1 as kms
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from grafeas import grafeas_v1 as g

from step.emulator import Emulator, EmulatorError, Fault
from step.emulator.faults import Faults
from tests.emulator.rest import ask
from tests.emulator.signers import Result
from tests.emulator.world import ATTESTOR, KEY, NOTE, PROJECT, Clients, FakeClock, crc32c

DIGEST = {"sha256": b"\x01" * 32}


def sign(clients: Clients) -> kms.AsymmetricSignResponse:
    """Sign once, without the client's own retries."""
    request = kms.AsymmetricSignRequest(
        name=KEY, digest=DIGEST, digest_crc32c=crc32c(DIGEST["sha256"])
    )
    return clients.kms.asymmetric_sign(request, retry=None)


def get_attestor(clients: Clients) -> Any:
    return clients.binauthz.get_attestor(name=ATTESTOR, retry=None)


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code.name != "OK"])
def test_every_status_strikes_before_anything_is_written(
    clients: Clients, emulator: Emulator, code: grpc.StatusCode
) -> None:
    made = clients.attestation()
    emulator.fail(f"CreateOccurrence={code.name}:1")
    with pytest.raises(exceptions.GoogleAPICallError) as refused:
        clients.create(made)
    assert refused.value.grpc_status_code is code
    assert emulator.calls.count("CreateOccurrence", code.name) == 1
    assert emulator.calls.writes() == ()
    clients.create(made)
    assert [call.method for call in emulator.calls.writes()] == ["CreateOccurrence"]


def test_a_disabled_service_says_so_as_google_does(clients: Clients, emulator: Emulator) -> None:
    emulator.fail("AsymmetricSign=SERVICE_DISABLED")
    with pytest.raises(exceptions.PermissionDenied, match="has not been used in project p") as no:
        sign(clients)
    assert no.value.reason == "SERVICE_DISABLED"
    assert no.value.domain == "googleapis.com"
    assert no.value.metadata == {"service": "cloudkms.googleapis.com", "consumer": "projects/p"}


def test_the_details_are_a_status_of_the_same_code_and_text(
    clients: Clients, emulator: Emulator
) -> None:
    emulator.fail("GetAttestor=SERVICE_DISABLED")
    with pytest.raises(exceptions.PermissionDenied) as refused:
        get_attestor(clients)
    [error] = refused.value.errors
    trailers = dict(error.trailing_metadata())
    status = status_pb2.Status.FromString(trailers["grpc-status-details-bin"])
    assert (status.code, status.message) == (7, error.details())
    [detail] = status.details
    info = error_details_pb2.ErrorInfo()
    assert isinstance(detail, any_pb2.Any)
    assert detail.Unpack(info)
    assert info.reason == "SERVICE_DISABLED"


def test_a_denied_permission_is_named(clients: Clients, emulator: Emulator) -> None:
    emulator.fail("AsymmetricSign=PERMISSION_DENIED")
    with pytest.raises(exceptions.PermissionDenied, match="useToSign' denied on resource") as no:
        sign(clients)
    assert no.value.reason == "IAM_PERMISSION_DENIED"
    assert no.value.metadata == {
        "permission": "cloudkms.cryptoKeyVersions.useToSign",
        "resource": KEY,
    }


@pytest.mark.parametrize(("what", "seconds"), [("RESOURCE_EXHAUSTED", []), ("QUOTA", [17])])
def test_an_exhausted_quota_has_its_reason(
    clients: Clients, emulator: Emulator, what: str, seconds: list[int]
) -> None:
    emulator.fail(f"AsymmetricSign={what}:1")
    with pytest.raises(exceptions.ResourceExhausted, match="Quota exceeded") as exhausted:
        sign(clients)
    assert exhausted.value.reason == "RATE_LIMIT_EXCEEDED"
    infos = [each for each in exhausted.value.details if hasattr(each, "retry_delay")]
    assert [info.retry_delay.seconds for info in infos] == seconds


def test_a_quota_is_told_over_rest_too(emulator: Emulator) -> None:
    emulator.fail("GetAttestor=QUOTA:1")
    answer = ask(emulator, "GET", f"/v1/{ATTESTOR}")
    info, retry = answer.document["error"]["details"]
    assert (answer.status, info["metadata"]["quota_limit_value"]) == (429, "60")
    assert retry["retryDelay"] == "17s"


def test_a_call_without_a_project_has_no_consumer(clients: Clients, emulator: Emulator) -> None:
    emulator.fail("GetAttestor=SERVICE_DISABLED")
    with pytest.raises(exceptions.PermissionDenied) as no:
        clients.binauthz.get_attestor(name="x", retry=None)
    assert no.value.metadata["consumer"] == "projects/unknown"


# The answer is altered


def test_corrupt_checksum_of_a_signature(clients: Clients, emulator: Emulator) -> None:
    emulator.fail("AsymmetricSign=CORRUPT_CHECKSUM:1")
    response = sign(clients)
    assert response.signature_crc32c != crc32c(response.signature)
    response = sign(clients)
    assert response.signature_crc32c == crc32c(response.signature)


def test_corrupt_checksum_of_a_public_key(clients: Clients, emulator: Emulator) -> None:
    emulator.fail("GetPublicKey=CORRUPT_CHECKSUM")
    public = clients.kms.get_public_key(name=KEY)
    assert public.pem_crc32c != crc32c(public.pem.encode())
    request = kms.GetPublicKeyRequest(name=KEY, public_key_format=kms.PublicKey.PublicKeyFormat.DER)
    checksummed = clients.kms.get_public_key(request).public_key
    assert checksummed.crc32c_checksum != crc32c(checksummed.data)


def test_corrupt_signature_is_only_seen_by_verifying(clients: Clients, emulator: Emulator) -> None:
    emulator.fail("AsymmetricSign=CORRUPT_SIGNATURE:1")
    forged = clients.attestation()
    assert clients.validate(forged).result == Result.ATTESTATION_NOT_VERIFIABLE
    assert clients.validate(clients.attestation()).result == Result.VERIFIED
    emulator.fail("AsymmetricSign=CORRUPT_SIGNATURE:1")
    response = sign(clients)
    assert response.signature_crc32c == crc32c(response.signature)


def test_unverified_checksum(clients: Clients, emulator: Emulator) -> None:
    assert sign(clients).verified_digest_crc32c
    emulator.fail("AsymmetricSign=UNVERIFIED_CHECKSUM:1")
    assert not sign(clients).verified_digest_crc32c


def test_wrong_name(clients: Clients, emulator: Emulator) -> None:
    emulator.fail("AsymmetricSign=WRONG_NAME:1", "GetPublicKey=WRONG_NAME:1")
    other = KEY[:-1] + "2"
    assert (sign(clients).name, sign(clients).name) == (other, KEY)
    assert clients.kms.get_public_key(name=KEY).name == other


def test_not_verifiable(clients: Clients, emulator: Emulator) -> None:
    emulator.fail("ValidateAttestationOccurrence=NOT_VERIFIABLE:1")
    made = clients.attestation()
    response = clients.validate(made)
    assert response.result == Result.ATTESTATION_NOT_VERIFIABLE
    assert response.denial_reason
    assert clients.validate(made).result == Result.VERIFIED


def test_tampered_lists_leave_what_is_stored_alone(
    clients: Clients, emulator: Emulator, clock: FakeClock
) -> None:
    made = clients.create(clients.attestation())
    clients.grafeas.create_occurrence(
        parent=PROJECT, occurrence=g.Occurrence(resource_uri="u", note_name=NOTE, discovery={})
    )
    clock.time = clock.time.replace(year=2027)
    emulator.fail("ListNoteOccurrences=TAMPER:1")
    [tampered, _] = clients.grafeas.list_note_occurrences(name=NOTE)
    altered, true = (each.attestation.serialized_payload for each in (tampered, made))
    assert [a ^ b for a, b in zip(altered, true, strict=True)] == [0] * (len(true) - 1) + [1]
    assert tampered.attestation.signatures == made.attestation.signatures
    assert next(iter(clients.grafeas.list_note_occurrences(name=NOTE))) == made
    assert clients.grafeas.get_occurrence(name=made.name) == made


def test_an_empty_payload_cannot_be_tampered_with(
    clients: Clients, emulator: Emulator, clock: FakeClock
) -> None:
    clients.create(g.AttestationOccurrence(signatures=[{"public_key_id": "k"}]))
    clock.time = clock.time.replace(year=2027)
    emulator.fail("ListNoteOccurrences=TAMPER:1")
    assert len(clients.listed()) == 1


# The answer is lost, or the occurrence


def test_a_dropped_answer_comes_after_the_write(clients: Clients, emulator: Emulator) -> None:
    emulator.fail("CreateOccurrence=DROP_ANSWER:1")
    made = clients.attestation()
    with pytest.raises(exceptions.ServiceUnavailable):
        clients.create(made)
    assert [call.status for call in emulator.calls.writes()] == ["UNAVAILABLE"]
    with pytest.raises(exceptions.AlreadyExists):
        clients.create(made)
    assert len(emulator.calls.writes()) == 1


def test_a_never_visible_occurrence_can_only_be_read_by_name(
    clients: Clients, emulator: Emulator, clock: FakeClock
) -> None:
    emulator.fail("CreateOccurrence=NEVER_VISIBLE:1")
    made = clients.create(clients.attestation())
    clock.time = clock.time.replace(year=2027)
    assert clients.listed() == []
    assert clients.grafeas.get_occurrence(name=made.name) == made
    with pytest.raises(exceptions.AlreadyExists):
        clients.create(made.attestation)


# Batches and lists


ATTESTATION = g.AttestationOccurrence(
    serialized_payload=b"payload", signatures=[{"public_key_id": "k", "signature": b"s"}]
)
LATER = timedelta(minutes=5)


def batch(clients: Clients, *numbers: int) -> list[g.Occurrence]:
    request = g.BatchCreateOccurrencesRequest(
        parent="projects/my-project", occurrences=[numbered(n) for n in numbers]
    )
    return list(clients.grafeas.batch_create_occurrences(request).occurrences)


def numbered(number: int) -> g.Occurrence:
    uri = f"https://registry.example.com/web@sha256:{number:064x}"
    return g.Occurrence(note_name=NOTE, resource_uri=uri, attestation=ATTESTATION)


def test_half_of_a_batch_is_made_and_nobody_is_told_which(
    clients: Clients, emulator: Emulator, clock: FakeClock
) -> None:
    emulator.fail("BatchCreateOccurrences=PARTIAL:1")
    with pytest.raises(exceptions.InvalidArgument, match="2 of 5 occurrences failed"):
        batch(clients, 1, 2, 3, 4, 5)
    assert len(emulator.calls.writes()) == 1
    with pytest.raises(exceptions.AlreadyExists):
        batch(clients, 4, 5, 1)
    clock.advance(LATER)
    assert len(clients.listed()) == 3, "all or nothing"


def test_what_exists_is_left_out_of_a_batch(
    clients: Clients, emulator: Emulator, clock: FakeClock
) -> None:
    batch(clients, 1, 2)
    emulator.fail("BatchCreateOccurrences=SKIP_EXISTING")
    made = batch(clients, 1, 2, 3)
    assert [each.resource_uri[-1] for each in made] == ["3"]
    clock.advance(LATER)
    assert len(clients.listed()) == 3


def test_a_batch_that_is_never_visible(
    clients: Clients, emulator: Emulator, clock: FakeClock
) -> None:
    emulator.fail("BatchCreateOccurrences=NEVER_VISIBLE:1")
    assert len(batch(clients, 1, 2)) == 2
    clock.advance(LATER)
    assert clients.listed() == []


def test_a_stale_list_is_a_minute_old(
    clients: Clients, emulator: Emulator, clock: FakeClock
) -> None:
    batch(clients, 1)
    clock.advance(LATER)
    batch(clients, 2)
    clock.advance(timedelta(seconds=50))
    assert len(clients.listed()) == 2
    emulator.fail("ListNoteOccurrences=STALE", "ListOccurrences=STALE")
    assert len(clients.listed()) == 1
    clock.advance(timedelta(minutes=1))
    assert len(clients.listed()) == 2


# Shares and quotas


def test_a_share_of_the_calls_is_struck_the_same_in_every_run() -> None:
    struck = []
    for _ in range(2):
        faults = Faults(["A", "B"], FakeClock().now)
        faults.add(Fault.parse("*=UNAVAILABLE:10%"))
        struck.append([faults.take("A") is not None for _ in range(2000)])
    assert struck[0] == struck[1]
    assert 150 < sum(struck[0]) < 250


@pytest.mark.parametrize("what", ["QUOTA", "EXHAUSTED"])
def test_a_quota_lets_so_many_calls_a_minute_through(what: str) -> None:
    clock = FakeClock()
    faults = Faults(["A", "B"], clock.now)
    faults.add(Fault.parse(f"A={what}:3/m"))
    for _ in range(3):
        assert faults.take("A") is None
        clock.time += timedelta(seconds=10)
    refused = faults.take("A")
    assert refused is not None
    assert (refused.a_minute, refused.retry_seconds) == (3, 30)
    assert faults.take("B") is None
    clock.time += timedelta(seconds=30)
    assert faults.take("A") is None
    assert faults.take("A") is not None


# Counting


def test_faults_of_a_method_are_used_up_in_order(clients: Clients, emulator: Emulator) -> None:
    emulator.fail("GetAttestor=UNAVAILABLE:2", Fault.parse("GetAttestor=NOT_FOUND:1"))
    for error in (
        exceptions.ServiceUnavailable,
        exceptions.ServiceUnavailable,
        exceptions.NotFound,
    ):
        with pytest.raises(error):
            get_attestor(clients)
    assert get_attestor(clients).name == ATTESTOR
    assert [call.status for call in emulator.calls] == [
        "UNAVAILABLE",
        "UNAVAILABLE",
        "NOT_FOUND",
        "OK",
    ]


def test_a_fault_without_a_count_stays_until_healed(clients: Clients, emulator: Emulator) -> None:
    emulator.fail("GetAttestor=UNAVAILABLE")
    for _ in range(3):
        with pytest.raises(exceptions.ServiceUnavailable):
            get_attestor(clients)
    emulator.heal()
    assert get_attestor(clients).name == ATTESTOR


def test_faults_can_be_given_at_the_start() -> None:
    with Emulator(faults=[Fault.parse("GetPolicy=INTERNAL")]) as emulator:
        clients = Clients.of(emulator)
        with pytest.raises(exceptions.InternalServerError, match="Internal error encountered"):
            clients.binauthz.get_policy(name="projects/p/policy")
        clients.channel.close()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not of the form METHOD=WHAT"),
        ("AsymmetricSign", "not of the form"),
        ("=UNAVAILABLE", "not of the form"),
        ("AsymmetricSign=", "not of the form"),
        ("AsymmetricSign=:2", "not of the form"),
        ("AsymmetricSign=OK", "unknown fault 'OK'"),
        ("AsymmetricSign=unavailable", "unknown fault 'unavailable'; there are ABORTED"),
        ("AsymmetricSign=UNAVAILABLE:", "whole number from 1"),
        ("AsymmetricSign=UNAVAILABLE:0", "whole number from 1"),
        ("AsymmetricSign=UNAVAILABLE:-1", "whole number from 1"),
        ("AsymmetricSign=UNAVAILABLE:²", "whole number from 1"),
        ("GetAttestor=CORRUPT_CHECKSUM", "only for AsymmetricSign and GetPublicKey"),
        ("GetAttestor=UNAVAILABLE:0%", "a share such as 1%"),
        ("GetAttestor=UNAVAILABLE:101%", "a share such as 1%"),
        ("GetAttestor=UNAVAILABLE:5/m", "for QUOTA and EXHAUSTED"),
        ("GetAttestor=EXHAUSTED", "for QUOTA and EXHAUSTED"),
        ("GetAttestor=QUOTA:0/m", "calls a minute such as 600/m"),
        ("*=PARTIAL", "only for BatchCreateOccurrences"),
        ("GetAttestor=NEVER_VISIBLE", "only for BatchCreateOccurrences and CreateOccurrence"),
        ("CreateOccurrence=TAMPER", "only for ListNoteOccurrences and ListOccurrences"),
    ],
)
def test_a_malformed_fault_is_refused(text: str, message: str) -> None:
    with pytest.raises(EmulatorError, match=message) as refused:
        Fault.parse(text)
    assert "\n" not in str(refused.value)


def test_a_fault_of_an_unknown_method_is_refused(emulator: Emulator) -> None:
    fault = Fault.parse("Sign=UNAVAILABLE")
    with pytest.raises(EmulatorError, match="unknown method 'Sign'; there are AsymmetricSign"):
        emulator.fail(fault)
    with pytest.raises(EmulatorError, match="unknown method 'Sign'"):
        Emulator(faults=[fault])


@pytest.mark.parametrize("count", [None, 1, 20])
def test_parsed_fields(count: int | None) -> None:
    text = "GetNote=ABORTED" + (f":{count}" if count else "")
    assert Fault.parse(text) == Fault("GetNote", "ABORTED", count)
