"""HTTP as the emulator serves it: whole requests in, JSON out, with TLS or without."""

import logging
import socket
import ssl
import sys
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from threading import Event, Lock, Thread
from typing import Any, TypeAlias

from step.emulator.refusal import EmulatorError

_logger = logging.getLogger(__name__)

Answer: TypeAlias = Callable[[str, str, bytes], tuple[int, bytes]]
"""From a request's method, target and body to the HTTP status and the JSON of its answer."""


class HttpServer:
    """Answers HTTP requests on a port of its own, each connection in a thread of its own."""

    def __init__(
        self, answer: Answer, host: str, port: int, *, limit: int, tls: ssl.SSLContext | None = None
    ) -> None:
        """Bind at once; EmulatorError when the address is taken.

        ``host`` is an address as it stands before a port; a body has ``limit`` bytes at most.
        """
        try:
            self._server = _Server(answer, host.strip("[]"), port, limit, tls)
        except (OSError, OverflowError) as error:
            raise EmulatorError(f"cannot listen on {host}:{port}: {error}") from error
        self.address = f"{host}:{self._server.server_address[1]}"
        self._thread = Thread(target=self._server.serve, name="emulator-http", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Let calls in flight end, and release the port."""
        self._server.end()
        self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    # Threads are joined when the server is closed, so no call outlives it.
    daemon_threads = False
    # A second emulator must not share the port.
    allow_reuse_port = False
    request_queue_size = 64

    def __init__(
        self, answer: Answer, host: str, port: int, limit: int, tls: ssl.SSLContext | None
    ) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.answer = answer
        self.limit = limit
        self._tls = tls
        self._ending = Event()
        self._lock = Lock()
        self._open: set[socket.socket] = set()
        super().__init__((host, port), _Handler)

    def server_bind(self) -> None:
        """As HTTPServer does, without its look-up of the host's name, which can take seconds."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = "localhost", self.server_address[1]

    def serve(self) -> None:
        """Take connections until the end."""
        while not self._ending.is_set():
            self.handle_request()
        with self._lock:
            for connection in self._open:
                # An idle client's thread wakes; an answer on its way still goes out. Not by the
                # method of a TLS socket, which would send the rest of the answer in the clear.
                with suppress(OSError):  # the client is gone
                    socket.socket.shutdown(connection, socket.SHUT_RD)

    def end(self) -> None:
        """Take no more connections after this one, which wakes `serve`."""
        self._ending.set()
        host, port = self.server_address[:2]
        socket.create_connection((str(host), int(port))).close()

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        if self._tls is None:
            return connection, address
        # Hands are shaken at the first read, in the client's thread: none holds up the others.
        wrapped = self._tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return wrapped, address

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        error = sys.exception()
        # A connection that broke, or whose client does not trust the certificate.
        level = logging.DEBUG if isinstance(error, OSError) else logging.ERROR
        _logger.log(level, "a request was not answered", exc_info=error)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    # Seconds that a connection may be idle or a client may take to send.
    timeout = 60
    # For what is no HTTP request to speak of, which the class answers itself.
    error_content_type = "application/json; charset=UTF-8"
    error_message_format = '{"error": {"code": %(code)d, "message": "%(message)s"}}\n'

    def _carry_out(self) -> None:
        length = self.headers.get("Content-Length", "0")
        limit = self.server.limit
        if "Transfer-Encoding" in self.headers:
            self.send_error(411, "A request must say how long it is.")
        elif not (length.isascii() and length.isdecimal()):
            self.send_error(400, "Content-Length is not a number.")
        elif len(length) > len(str(limit)) or int(length) > limit:
            self.send_error(413, f"A request may have {limit} bytes.")
        else:
            body = self.rfile.read(int(length))
            if len(body) < int(length):
                self.close_connection = True  # half a request is none
            else:
                self._send(*self.server.answer(self.command, self.path, body))

    do_DELETE = do_GET = do_PATCH = do_POST = do_PUT = _carry_out

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", self.error_content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as it is called
        """Calls have a log of their own."""
        _logger.debug(format, *args)
