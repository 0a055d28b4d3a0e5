"""A service's remote methods, found by their ``@rpc`` mark, free of any transport."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Protocol, TypeVar

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
    for attribute, handler in inspect.getmembers(service, inspect.ismethod):
        traits = getattr(handler, "__rpc__", None)
        if traits is None:
            continue
        request = inspect.signature(handler, eval_str=True).parameters["request"].annotation
        name = "".join(word.capitalize() for word in attribute.split("_"))
        yield Method(service, name, request, handler, traits)
