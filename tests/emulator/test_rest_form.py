"""The REST side's JSON, errors and HTTP."""

import base64
import http.client
import json
import logging
import re
import socket
import struct
from contextlib import closing
from typing import Any

import grpc
import pytest
from google.api_core import exceptions
from hypothesis import given
from hypothesis import strategies as st

from step.emulator import Emulator, Seed
from step.emulator.json_form import parse_request
from step.emulator.refusal import Refusal
from step.emulator.rest import MAX_BODY
from step.emulator.routes import Match, Routes
from tests.emulator.rest import SERVICES, ask, ask_on, connect
from tests.emulator.world import ATTESTOR, KEY, NOTE, PROJECT, SEED, URI, Clients, FakeClock

TABLE = Routes(SERVICES)
STATUSES = [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK]


def matched(verb: str, path: str) -> Match:
    result = TABLE.find(verb, path)
    assert result is not None
    return result


CREATE = matched("POST", f"/v1/{PROJECT}/occurrences")
SIGN = matched("POST", f"/v1/{KEY}:asymmetricSign")
LIST = matched("GET", f"/v1/{NOTE}/occurrences")
UPDATE = matched("PATCH", f"/v1/{NOTE}")


def with_payload(text: str) -> Any:
    body = {"attestation": {"serializedPayload": text}}
    return parse_request(CREATE, "", json.dumps(body).encode()).occurrence.attestation


def attempted(route: Match, query: str, body: bytes) -> Any:
    """The request, or None when it is refused as it may be."""
    try:
        return parse_request(route, query, body)
    except Refusal as refusal:
        if refusal.code is not grpc.StatusCode.INVALID_ARGUMENT:
            raise
        return None


# JSON


@given(st.binary(max_size=40))
def test_base64_of_either_alphabet_padded_or_not(value: bytes) -> None:
    for encoded in (base64.b64encode(value), base64.urlsafe_b64encode(value)):
        for text in (encoded.decode(), encoded.decode().rstrip("=")):
            assert with_payload(text).serialized_payload == value


@given(st.text(max_size=12))
def test_what_is_not_base64_is_refused(text: str) -> None:
    digits = text.rstrip("=")
    good = re.fullmatch(r"[A-Za-z0-9+/_-]*={0,2}", text) and len(digits) % 4 != 1
    if good:
        with_payload(text)
    else:
        with pytest.raises(Refusal, match="Base64 decoding failed for 'serializedPayload'"):
            with_payload(text)


@pytest.mark.parametrize(
    "body",
    [
        {"attestation": {"signatures": [{"signature": "AA=="}, {"signature": "!"}]}},
        {"attestation": {"signatures": [{"signature": "A"}]}},
    ],
)
def test_base64_is_checked_in_lists(body: Any) -> None:
    with pytest.raises(Refusal, match="Base64 decoding failed for 'signature'"):
        parse_request(CREATE, "", json.dumps(body).encode())


def test_maps_are_looked_into() -> None:
    batch = matched("POST", f"/v1/{PROJECT}/notes:batchCreate")
    good = {"notes": {"n": {"shortDescription": "s"}}}
    assert parse_request(batch, "", json.dumps(good).encode()).notes["n"].short_description == "s"
    for notes in ({"n": {"shortDescription": 1}}, ["n"]):
        with pytest.raises(Refusal, match="Invalid JSON payload"):
            parse_request(batch, "", json.dumps({"notes": notes}).encode())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["attestation", "signatures", "signature", "kind", "createTime", "envelope"]
            )
            | st.text(max_size=5),
            inner,
            max_size=3,
        )
    ),
    max_leaves=12,
)


@given(JSON.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=20))
def test_any_body_is_a_request_or_refused(body: bytes) -> None:
    request = attempted(CREATE, "", body)
    assert request is None or request.parent == PROJECT


NAMES = st.sampled_from(["filter", "pageSize", "name", "updateMask", "note", "note.name", "alt"])


@given(
    st.lists(st.tuples(NAMES | st.text(max_size=5), st.text(max_size=5)), max_size=4).map(
        lambda pairs: "&".join(f"{name}={value}" for name, value in pairs)
    )
)
def test_any_query_is_a_request_or_refused(query: str) -> None:
    for route in (LIST, UPDATE):
        request = attempted(route, query, b"")
        assert request is None or request.name == NOTE


def test_the_body_is_of_the_depth_that_a_parser_can_take() -> None:
    deep = b'{"attestation":' * 100_000
    with pytest.raises(Refusal, match="cannot be parsed"):
        parse_request(CREATE, "", deep)


def test_numbers_of_64_bits_are_text_or_numbers() -> None:
    for crc in ("7", 7):
        body = json.dumps({"digest": {"sha256": "AA"}, "digestCrc32c": crc}).encode()
        assert parse_request(SIGN, "", body).digest_crc32c == 7


def test_enums_are_names_or_numbers() -> None:
    key = matched("GET", f"/v1/{KEY}/publicKey")
    for text in ("DER", "2"):
        assert parse_request(key, f"publicKeyFormat={text}", b"").public_key_format.name == "DER"
    with pytest.raises(Refusal, match="NOTHING"):
        parse_request(key, "publicKeyFormat=NOTHING", b"")


@pytest.mark.parametrize("mask", ["shortDescription,relatedUrl", "short_description,related_url"])
def test_a_mask_is_written_either_way(mask: str) -> None:
    request = parse_request(UPDATE, f"updateMask={mask}", b"{}")
    assert list(request.update_mask.paths) == ["short_description", "related_url"]


@pytest.mark.parametrize("name", ["pageSize", "page_size"])
def test_a_query_gives_fields_by_either_name(name: str) -> None:
    system = "alt=json&prettyPrint=true&%24.xgafv=2&key=k&fields=occurrences.name"
    request = parse_request(LIST, f"{system}&{name}=3&filter=a%3D%22b%22", b"")
    assert (request.name, request.page_size, request.filter) == (NOTE, 3, 'a="b"')


def test_a_query_leads_into_messages_and_knows_booleans() -> None:
    request = parse_request(UPDATE, "note.shortDescription=s&note.relatedNoteNames=a", b"{}")
    assert request.note.short_description == "s"
    assert list(request.note.related_note_names) == ["a"]
    put = matched("POST", f"/v1/{PROJECT}/notes")
    query = "note.vulnerability.details.isObsolete=true"
    with pytest.raises(Refusal, match="details"):  # a list, which a query cannot lead into
        parse_request(put, query, b"{}")
    ring = matched("POST", f"/v1/{PROJECT}/locations/global/keyRings/r/cryptoKeys")
    for text, value in (("true", True), ("false", False)):
        query = f"skipInitialVersionCreation={text}"
        assert parse_request(ring, query, b"{}").skip_initial_version_creation is value
    with pytest.raises(Refusal, match="skip_initial_version_creation"):
        parse_request(ring, "skipInitialVersionCreation=yes", b"{}")


def test_the_path_has_the_last_word() -> None:
    body = {"name": "projects/other/attestors/b", "description": "d"}
    put = matched("PUT", f"/v1/{ATTESTOR}")
    request = parse_request(put, "", json.dumps(body).encode())
    assert (request.attestor.name, request.attestor.description) == (ATTESTOR, "d")
    assert parse_request(LIST, "name=projects/other/notes/m", b"").name == NOTE


@pytest.mark.parametrize(
    ("route", "query", "body", "says"),
    [
        (CREATE, "", b"{", "cannot be parsed"),
        (CREATE, "", b"\xff", "cannot be parsed"),
        (CREATE, "", b"[]", "not an object"),
        (CREATE, "", rb'{"kind": "\ud800"}', "cannot be parsed"),
        (CREATE, "", b'{"secret": {"data": {"@type": 5}}}', "Invalid JSON payload"),
        (CREATE, "", b'{"nothing": 1}', "nothing"),
        (CREATE, "", b'{"userOwnedDrydockNote": 1}', "userOwnedDrydockNote"),
        (CREATE, "", b'{"kind": "NOTHING"}', "NOTHING"),
        (CREATE, "nothing=1", b"", 'Unknown name "nothing"'),
        (CREATE, "nothing.name=1", b"", 'Unknown name "nothing.name"'),
        (CREATE, "parent.name=1", b"", 'Unknown name "parent.name"'),
        (UPDATE, "note=x&note.name=y", b"", 'Unknown name "note.name"'),
        (LIST, "pageSize=x", b"", "page_size"),
        (LIST, "pageSize=1&pageSize=2", b"", "2 times"),
        (LIST, "", b"{}", "no body"),
    ],
)
def test_what_is_no_request_is_refused(route: Match, query: str, body: bytes, says: str) -> None:
    with pytest.raises(Refusal, match=re.escape(says)) as refused:
        parse_request(route, query, body)
    assert refused.value.code is grpc.StatusCode.INVALID_ARGUMENT


# Errors


@pytest.mark.parametrize("code", STATUSES, ids=lambda code: code.name)
def test_every_status_has_its_http_status(emulator: Emulator, code: grpc.StatusCode) -> None:
    emulator.fail(f"GetNote={code.name}:1")
    answer = ask(emulator, "GET", f"/v1/{NOTE}")
    # Of two it says nothing; https://cloud.google.com/apis/design/errors#handling_errors does.
    theirs: Any = exceptions.from_grpc_status
    expected = theirs(code, "").code or 500
    assert answer.status == expected
    assert answer.error[:2] == (expected, code.name)
    assert ask(emulator, "GET", f"/v1/{NOTE}").status == 200


def test_a_reason_is_in_the_details(emulator: Emulator) -> None:
    emulator.fail("GetNote=SERVICE_DISABLED")
    answer = ask(emulator, "GET", f"/v1/{NOTE}")
    assert answer.status == 403
    [detail] = answer.document["error"]["details"]
    assert detail["@type"] == "type.googleapis.com/google.rpc.ErrorInfo"
    assert (detail["reason"], detail["domain"]) == ("SERVICE_DISABLED", "googleapis.com")
    assert detail["metadata"]["service"] == "containeranalysis.googleapis.com"


def test_a_second_creation_is_a_conflict(emulator: Emulator, clients: Clients) -> None:
    made = clients.attestation()
    body = {
        "resourceUri": URI,
        "noteName": NOTE,
        "attestation": {
            "serializedPayload": base64.urlsafe_b64encode(made.serialized_payload).decode(),
            "signatures": [
                {
                    "publicKeyId": made.signatures[0].public_key_id,
                    "signature": base64.urlsafe_b64encode(made.signatures[0].signature).decode(),
                }
            ],
        },
    }
    first = ask(emulator, "POST", f"/v1/{PROJECT}/occurrences", body)
    second = ask(emulator, "POST", f"/v1/{PROJECT}/occurrences", body)
    assert (first.status, first.document["kind"]) == (200, "ATTESTATION")
    assert second.error[:2] == (409, "ALREADY_EXISTS")
    # Both sides have one state.
    with pytest.raises(exceptions.AlreadyExists):
        clients.create(made)
    assert emulator.calls.count("CreateOccurrence", "ALREADY_EXISTS") == 2


# HTTP


def test_a_connection_is_kept_for_more_requests(emulator: Emulator) -> None:
    with closing(connect(emulator)) as connection:
        assert ask_on(connection, "GET", f"/v1/{NOTE}").status == 200
        kept = connection.sock
        assert ask_on(connection, "GET", f"/v1/{NOTE}x").status == 404
        assert ask_on(connection, "DELETE", f"/v1/{NOTE}").document == {}
        assert connection.sock is kept is not None


@pytest.mark.parametrize(
    ("verb", "headers", "status"),
    [
        ("POST", {"Content-Length": str(MAX_BODY + 1)}, 413),
        ("POST", {"Content-Length": "9" * 5000}, 413),
        ("POST", {"Content-Length": "-1"}, 400),
        ("POST", {"Content-Length": "x"}, 400),
        ("POST", {"Transfer-Encoding": "chunked"}, 411),
        ("OPTIONS", {}, 501),
    ],
)
def test_what_http_asks_in_vain(
    emulator: Emulator, verb: str, headers: dict[str, str], status: int
) -> None:
    with closing(connect(emulator)) as connection:
        connection.putrequest(verb, f"/v1/{PROJECT}/occurrences")
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        with connection.getresponse() as response:
            assert response.status == status
            assert json.loads(response.read())["error"]["code"] == status
            assert response.headers["Connection"] == "close"
    assert list(emulator.calls) == []


def raw(emulator: Emulator, sent: bytes) -> socket.socket:
    host, _, port = emulator.rest_address.rpartition(":")
    connection = socket.create_connection((host, int(port)), timeout=10)
    connection.sendall(sent)
    return connection


HALF = f"POST /v1/{PROJECT}/occurrences HTTP/1.1\r\nContent-Length: 9\r\n\r\n{{}}".encode()


def test_half_a_request_is_none(emulator: Emulator) -> None:
    with raw(emulator, HALF) as connection:
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(100) == b""
    assert list(emulator.calls) == []


def test_a_client_that_breaks_off_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG), Emulator(Seed.parse(SEED)) as emulator:
        connection = raw(emulator, HALF)
        # With no time to linger, closing is a reset.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
        assert ask(emulator, "GET", f"/v1/{NOTE}").status == 200
    told = [record.levelno for record in caplog.records if "not answered" in record.message]
    assert told == [logging.DEBUG]


def test_the_end_does_not_wait_for_idle_clients(clock: FakeClock) -> None:
    emulator = Emulator(Seed.parse(SEED), now=clock.now).start()
    address = emulator.rest_address
    with closing(connect(emulator)) as connection:
        assert ask_on(connection, "GET", f"/v1/{NOTE}").status == 200
        emulator.stop()
        with pytest.raises((ConnectionError, http.client.HTTPException)):
            ask_on(connection, "GET", f"/v1/{NOTE}")
    # The port is free again, at once.
    again = Emulator(Seed.parse(SEED), rest_port=int(address.rpartition(":")[2]))
    with again:
        assert again.rest_address == address


def test_a_port_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match=r"cannot listen on 127\.0\.0\.1:70000"):
        Emulator(rest_port=70000).start()


def test_it_is_on_ipv6_loopback_too() -> None:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    with Emulator(Seed.parse(SEED), host="::1") as emulator:
        assert emulator.rest_address.startswith("[::1]:")
        assert ask(emulator, "GET", f"/v1/{NOTE}").status == 200
