"""A service's remote methods, found by their ``@rpc`` mark, free of any transport."""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from operator import attrgetter
from typing import Any, Protocol, TypeVar, runtime_checkable

from step.emulator.shapes import Shape

_Handler = TypeVar("_Handler", bound=Callable[..., Any])


class Service(Protocol):
    """A class whose ``@rpc`` methods answer the methods of one API service."""

    SERVICE: str
    """Full name in the API's proto file, such as ``grafeas.v1.Grafeas``."""
    HOST: str
    """The API's service name, such as ``containeranalysis.googleapis.com``."""
    TITLE: str
    """The API's display name."""


@dataclass(frozen=True, slots=True)
class Access:
    """Of which API a call is, and the IAM permission that it takes; empty where none is known."""

    host: str
    title: str
    permission: str


@runtime_checkable
class Mixin(Service, Protocol):
    """A service that several APIs have in common: which one is asked, the resource tells."""

    def access(self, permission: str, resource: str) -> Access:
        """Whose call it is; Refusal (INVALID_ARGUMENT) for a resource of no API's."""

    def options(self, method: str) -> Iterable[Mapping[str, str]]:
        """The ``google.api.http`` options of a method: method, uri and body."""


@dataclass(frozen=True, slots=True)
class Http:
    """How to ask, as JSON over HTTP alone, for a method that no published proto file has.

    The request is a dictionary: ``fields`` are those of its body and query string, to which the
    variables of ``template`` are added. ``body`` is as ``google.api.http`` has it.
    """

    verb: str
    template: str
    fields: Mapping[str, Shape]
    body: str = ""


@dataclass(frozen=True, slots=True)
class Traits:
    """What is known of a method besides its code: resource, IAM permission, whether it writes."""

    resource: Callable[[Any], str]
    permission: str
    writes: bool
    http: Http | None


@dataclass(frozen=True, slots=True)
class Method:
    """One remote method, bound to the service that answers it."""

    service: Service
    name: str
    request: type[Any]
    handle: Callable[[Any], Any]
    traits: Traits

    @property
    def path(self) -> str:
        """As on the wire: ``/package.Service/Method``."""
        return f"/{self.service.SERVICE}/{self.name}"

    def parse(self, data: bytes) -> Any:
        """A request from its bytes on the wire, of proto-plus or plain protobuf type."""
        read = getattr(self.request, "deserialize", None) or self.request.FromString
        return read(data)

    def access(self, resource: str) -> Access:
        """The API and the permission that a call about a resource takes."""
        if isinstance(self.service, Mixin):
            return self.service.access(self.traits.permission, resource)
        return Access(self.service.HOST, self.service.TITLE, self.traits.permission)


def rpc(
    resource: str | Callable[[Any], str],
    permission: str,
    *,
    writes: bool = False,
    http: Http | None = None,
) -> Callable[[_Handler], _Handler]:
    """Mark a method as a remote one.

    ``resource`` is the request's attribute that names what the call is about (dots reach into
    messages), ``permission`` the IAM permission that Google Cloud asks of the caller, ``http`` the
    only way to ask, where the API's own annotations are not published.
    """
    find = attrgetter(resource) if isinstance(resource, str) else resource

    def mark(handler: _Handler) -> _Handler:
        handler.__rpc__ = Traits(find, permission, writes, http)  # type: ignore[attr-defined]
        return handler

    return mark


def methods_of(service: Service) -> Iterator[Method]:
    """The remote methods of a service; ``get_note`` answers ``GetNote``."""
    for attribute, name, request, traits in _marked(type(service)):
        yield Method(service, name, request, getattr(service, attribute), traits)


@cache
def _marked(kind: type[Service]) -> tuple[tuple[str, str, type[Any], Traits], ...]:
    """Of each handler that is marked: attribute, method's name, type of its request, traits."""
    methods = []
    for attribute, handler in inspect.getmembers(kind, inspect.isfunction):
        if (traits := getattr(handler, "__rpc__", None)) is not None:
            request = inspect.signature(handler, eval_str=True).parameters["request"].annotation
            name = "".join(word.capitalize() for word in attribute.split("_"))
            methods.append((attribute, name, request, traits))
    return tuple(methods)
