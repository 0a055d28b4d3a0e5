"""Servers that never come to an end: over gRPC and over HTTP, each in its own way."""

from __future__ import annotations

import itertools
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager, suppress
from typing import Any

import grpc
from google.cloud import binaryauthorization_v1 as binauthz
from grafeas import grafeas_v1

from tests.keys import make_private_key, public_pem
from tests.world import NOTE


def never(connection: socket.socket, ended: threading.Event) -> None:
    """Take the connection, and say nothing."""
    ended.wait()


def drip(connection: socket.socket, ended: threading.Event) -> None:
    """A byte now and then, of something that could become an answer."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    while not ended.wait(0.02):
        connection.sendall(b"a")


def drip_body(connection: socket.socket, ended: threading.Event) -> None:
    """The headers at once, and the body a byte now and then."""
    connection.sendall(
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nMetadata-Flavor: Google\r\n"
        b"Content-Length: 100000\r\n\r\n"
    )
    while not ended.wait(0.02):
        connection.sendall(b" ")


def again(connection: socket.socket, ended: threading.Event) -> None:
    """That one should go on, for ever."""
    while not ended.wait(0.01):
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n" * 10)


def endless(connection: socket.socket, ended: threading.Event) -> None:
    """A body without an end, as fast as it is read."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
    while not ended.is_set():
        connection.sendall(b" " * 65536)


def reset(connection: socket.socket, ended: threading.Event) -> None:
    """Hang up rudely."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


Behaviour = Callable[[socket.socket, threading.Event], None]


@contextmanager
def stalling(way: Behaviour) -> Iterator[str]:
    """A server on loopback that treats every connection that way; yields its host and port."""
    ended = threading.Event()

    def serve(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            if way is not reset:
                connection.recv(65536)
            way(connection, ended)

    def accept() -> None:
        with suppress(OSError):
            while True:
                taken = listener.accept()[0]
                threading.Thread(target=serve, args=(taken,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, daemon=True).start()
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            ended.set()
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)


@contextmanager
def paging(*, same: bool = False) -> Iterator[str]:
    """A service whose lists always have a next page, under the same token or another each time."""
    from step.model.keys import Algorithm

    count = itertools.count()
    pem = public_pem(make_private_key(Algorithm.ECDSA_P256_SHA256))
    pkix = binauthz.PkixPublicKey(
        public_key_pem=pem, signature_algorithm=Algorithm.ECDSA_P256_SHA256.name
    )
    note = binauthz.UserOwnedGrafeasNote(
        note_reference=NOTE,
        public_keys=[binauthz.AttestorPublicKey(id="ni:///k", pkix_public_key=pkix)],
    )

    def token() -> str:
        return "again" if same else str(next(count))

    def handler(answer: Callable[..., object], request: type, response: type) -> Any:
        return grpc.unary_unary_rpc_method_handler(
            lambda asked, _: answer(asked),
            request_deserializer=request.deserialize,  # type: ignore[attr-defined]
            response_serializer=response.serialize,  # type: ignore[attr-defined]
        )

    services = {
        "google.cloud.binaryauthorization.v1.BinauthzManagementServiceV1": {
            "GetAttestor": handler(
                lambda asked: binauthz.Attestor(name=asked.name, user_owned_grafeas_note=note),
                binauthz.GetAttestorRequest,
                binauthz.Attestor,
            ),
            "ListAttestors": handler(
                lambda _: binauthz.ListAttestorsResponse(next_page_token=token()),
                binauthz.ListAttestorsRequest,
                binauthz.ListAttestorsResponse,
            ),
        },
        "grafeas.v1.Grafeas": {
            "ListNoteOccurrences": handler(
                lambda _: grafeas_v1.ListNoteOccurrencesResponse(next_page_token=token()),
                grafeas_v1.ListNoteOccurrencesRequest,
                grafeas_v1.ListNoteOccurrencesResponse,
            ),
            "ListOccurrences": handler(
                lambda _: grafeas_v1.ListOccurrencesResponse(next_page_token=token()),
                grafeas_v1.ListOccurrencesRequest,
                grafeas_v1.ListOccurrencesResponse,
            ),
        },
    }
    with futures.ThreadPoolExecutor(8) as pool:
        server = grpc.server(pool)
        for name, methods in services.items():
            server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, methods),))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            server.stop(None).wait()
