"""What connects to registries for requests: to judged addresses only, and cut off when told to."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, TypeAlias
from weakref import WeakSet

from requests import Response, Session
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError
from urllib3.util.connection import create_connection

from step.registry.addresses import is_internal, read_ip, require_reachable


class GuardedSession(Session):
    """A session that follows nothing by itself, and judges each address that it connects to.

    `internal` allows addresses that the internet does not have. What a proxy connects to, is not
    judged here: it is the proxy that resolves the name.
    """

    def __init__(self, *, internal: bool) -> None:
        super().__init__()
        self._adapter = _GuardedAdapter(internal=internal)
        for scheme in ("http://", "https://"):
            self.mount(scheme, self._adapter)

    def get_redirect_target(self, resp: Response) -> None:
        """Nowhere: even without following it, requests would read all of its body."""

    def has_met_internal(self, host: str, port: int) -> bool:
        """Whether what it connected to under that name and port is internal."""
        return self._adapter.met.get((host, port), False)

    def cut_off(self) -> None:
        """End all connections, whoever reads from them."""
        self._adapter.cut_off()


class _GuardedAdapter(HTTPAdapter):
    def __init__(self, *, internal: bool) -> None:
        self._internal = internal
        self.met: dict[tuple[str, int], bool] = {}
        self._open: WeakSet[_Guarded] = WeakSet()
        super().__init__()

    def init_poolmanager(self, *args: Any, **settings: Any) -> None:
        """As requests has it, with connections of our own."""
        super().init_poolmanager(*args, **settings)
        self.poolmanager.pool_classes_by_scheme = {
            "http": partial(_PlainPool, self._connect),  # type: ignore[dict-item]
            "https": partial(_TlsPool, self._connect),  # type: ignore[dict-item]
        }

    def cut_off(self) -> None:
        """End all connections."""
        for connection in list(self._open):
            connection.cut_off()

    def _connect(self, connection: _Guarded, *, plain: bool) -> socket.socket:
        """Connect to the first address that can be; raises Unavailable for one that must not be."""
        host, port = connection.host, connection.port
        try:
            resolved = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except socket.gaierror as error:
            raise NameResolutionError(host, connection, error) from error
        except UnicodeError as error:
            raise NewConnectionError(connection, "no host can have that name") from error
        failure: Exception = NewConnectionError(connection, "the name has no address")
        for spelled in dict.fromkeys(str(target[0]) for *_, target in resolved):
            address = read_ip(spelled)
            assert address is not None  # noqa: S101 - it is no name any more
            require_reachable(host, address, internal=self._internal, plain=plain)
            try:
                made = create_connection(
                    (spelled, port),
                    connection.timeout,
                    source_address=connection.source_address,
                    socket_options=connection.socket_options,
                )
            except TimeoutError:
                failure = ConnectTimeoutError(connection, f"{host} timed out")
            except OSError as error:
                failure = NewConnectionError(connection, str(error.strerror or error))
                failure.__cause__ = error
            else:
                self.met[host, port] = is_internal(address)
                self._open.add(connection)
                return made
        raise failure


_Connect: TypeAlias = Callable[..., socket.socket]


class _Guarded(HTTPConnection):
    """A connection with a second handle, which ends it whoever reads from it, TLS or not."""

    def __init__(self, connect: _Connect, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._connect_guarded = connect
        self._handle: socket.socket | None = None

    def _new_conn(self) -> socket.socket:
        made = self._connect_guarded(self, plain=not isinstance(self, HTTPSConnection))
        self._handle = made.dup()
        return made

    def cut_off(self) -> None:
        """End it."""
        if self._handle is not None:
            with suppress(OSError):  # it has ended by itself
                self._handle.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close both handles."""
        super().close()
        if self._handle is not None:
            self._handle.close()


class _GuardedTls(_Guarded, HTTPSConnection):
    pass


class _PlainPool(HTTPConnectionPool):
    def __init__(self, connect: _Connect, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.ConnectionCls = partial(_Guarded, connect)  # type: ignore[assignment]


class _TlsPool(HTTPSConnectionPool):
    def __init__(self, connect: _Connect, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.ConnectionCls = partial(_GuardedTls, connect)  # type: ignore[assignment]
