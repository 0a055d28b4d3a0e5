"""A service's remote methods, found by their ``@rpc`` mark, free of any transport."""

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Protocol, TypeVar

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
class Traits:
    """What is known of a method besides its code: resource, IAM permission, whether it writes."""

    resource: Callable[[Any], str]
    permission: str
    writes: bool


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
    resource: str | Callable[[Any], str], permission: str, *, writes: bool = False
) -> Callable[[_Handler], _Handler]:
    """Mark a method as a remote one.

    ``resource`` is the request's attribute that names what the call is about (dots reach into
    messages), ``permission`` the IAM permission that Google Cloud asks of the caller.
    """
    find = attrgetter(resource) if isinstance(resource, str) else resource

    def mark(handler: _Handler) -> _Handler:
        handler.__rpc__ = Traits(find, permission, writes)  # type: ignore[attr-defined]
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
