"""The gRPC side: wire bytes to messages and back, on a loopback port."""

import ipaddress
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NoReturn

import grpc
from google.protobuf import duration_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from step.emulator.dispatch import Dispatcher
from step.emulator.refusal import EmulatorError, Refusal
from step.emulator.rpc import Method, methods_of

_WORKERS = 16
# https://grpc.io/docs/guides/error/#richer-error-model: where google.rpc.Status travels
_DETAILS = "grpc-status-details-bin"


class GrpcServer:
    """Serves a dispatcher's methods over gRPC without TLS, on loopback only."""

    def __init__(self, dispatcher: Dispatcher, host: str, port: int) -> None:
        """Bind at once; EmulatorError when the address is not loopback or is taken."""
        address = loopback(host)
        self._server = grpc.server(
            ThreadPoolExecutor(_WORKERS, thread_name_prefix="emulator"),
            handlers=list(_handlers(dispatcher)),
            # A second emulator must not share the port; a batch may be larger than grpc's 4 MiB.
            options=[("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", -1)],
        )
        try:
            bound = self._server.add_insecure_port(f"{address}:{port}")
        except RuntimeError as error:
            raise EmulatorError(f"cannot listen on {address}:{port}: {error}") from error
        self.address = f"{address}:{bound}"
        self._server.start()

    def stop(self) -> None:
        """Let calls in flight end, for a second at most, and release the port."""
        self._server.stop(grace=1).wait()


def loopback(host: str) -> str:
    """The host as it stands before a port.

    Raises EmulatorError for anything but loopback: the emulator asks for no credentials.
    """
    address = _parsed(host)
    if address is None or not address.is_loopback:
        raise EmulatorError(f"host {host!r} is not a loopback address")
    return _before_port(address)


def address_of(host: str) -> str:
    """The host as it stands before a port, loopback or not; EmulatorError if it is no address."""
    address = _parsed(host)
    if address is None:
        raise EmulatorError(f"host {host!r} is not an IP address")
    return _before_port(address)


def _parsed(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        return None


def _before_port(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    return f"[{address}]" if address.version == 6 else str(address)


def _handlers(dispatcher: Dispatcher) -> "Iterator[grpc.GenericRpcHandler[Any, Any]]":
    for service in dispatcher.services:
        yield grpc.method_handlers_generic_handler(
            service.SERVICE,
            {
                method.name: grpc.unary_unary_rpc_method_handler(
                    _behaviour(dispatcher, method),
                    request_deserializer=method.parse,
                    response_serializer=_serialize,
                )
                for method in methods_of(service)
                if method.traits.http is None
            },
        )


def _behaviour(dispatcher: Dispatcher, method: Method) -> Callable[[Any, Any], Any]:
    def answer(request: Any, context: grpc.ServicerContext) -> Any:
        try:
            return dispatcher.call(method, request)
        except Refusal as refusal:
            _abort(context, refusal)

    return answer


def _serialize(message: Any) -> bytes:
    """Proto-plus messages serialise by their type, plain protobuf ones by themselves."""
    plain = getattr(message, "_pb", message)
    data: bytes = plain.SerializeToString()
    return data


def _abort(context: grpc.ServicerContext, refusal: Refusal) -> NoReturn:
    details: list[Message] = []
    if refusal.reason is not None:
        details.append(
            error_details_pb2.ErrorInfo(
                reason=refusal.reason.reason,
                domain=refusal.reason.domain,
                metadata=dict(refusal.reason.metadata),
            )
        )
    if refusal.retry_seconds is not None:
        delay = duration_pb2.Duration(seconds=refusal.retry_seconds)
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    if details:
        status = status_pb2.Status(code=refusal.code.value[0], message=refusal.message)
        for detail in details:
            status.details.add().Pack(detail)
        context.set_trailing_metadata(((_DETAILS, status.SerializeToString()),))
    context.abort(refusal.code, refusal.message)
