"""The REST side: JSON over HTTP on the APIs' real paths, on a loopback port."""

from functools import cached_property

import grpc

from step.emulator.dispatch import Dispatcher
from step.emulator.http_server import HttpServer
from step.emulator.json_form import parse_request, show_answer, show_refusal
from step.emulator.refusal import Refusal
from step.emulator.routes import Routes
from step.emulator.server import loopback
from step.emulator.storage import Storage, StorageApi

# Room for a batch of a thousand attestations; a request is read into memory as a whole.
MAX_BODY = 32 * 1024 * 1024


class RestServer:
    """Serves a dispatcher's methods as JSON over HTTP without TLS, on loopback only."""

    def __init__(self, dispatcher: Dispatcher, storage: Storage, host: str, port: int) -> None:
        """Bind at once; EmulatorError when the address is not loopback or is taken."""
        self._dispatcher = dispatcher
        self._storage = StorageApi(dispatcher, storage)
        self._server = HttpServer(self._answer, loopback(host), port, limit=MAX_BODY)
        self.address = self._server.address

    @cached_property
    def _routes(self) -> Routes:
        """Made for the first request: most runs never speak REST."""
        return Routes(self._dispatcher.services)

    def stop(self) -> None:
        """Let calls in flight end, and release the port."""
        self._server.stop()

    def _answer(self, verb: str, target: str, body: bytes) -> tuple[int, bytes]:
        """The HTTP status and the JSON of an answer."""
        path, _, query = target.partition("?")
        if self._storage.has(path):
            return self._storage.answer(verb, path, query, body)
        try:
            match = self._routes.find(verb, path)
            if match is None:
                raise Refusal(grpc.StatusCode.NOT_FOUND, f"Method not found: {verb} {path}.")
            request = parse_request(match, query, body)
            response = self._dispatcher.call(match.route.method, request)
        except Refusal as refusal:
            return show_refusal(refusal)
        return 200, show_answer(response, match.route.renamed)
