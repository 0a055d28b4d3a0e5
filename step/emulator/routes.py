"""Which HTTP request is which method, by the annotations of the APIs themselves.

Google's generated REST clients carry every ``google.api.http`` option of their API; the templates'
syntax is that of https://github.com/googleapis/googleapis/blob/master/google/api/http.proto
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from urllib.parse import unquote

from step.emulator.rpc import Method, Mixin, Service, methods_of

_VARIABLE = re.compile(r"\{([\w.]+)(?:=([^}]+))?\}")
_BEFORE_CAPITAL = re.compile(r"(?<=[a-z])(?=[A-Z])")

DRYDOCK: Mapping[str, str] = {
    "userOwnedGrafeasNote": "userOwnedDrydockNote",
    "user_owned_grafeas_note": "user_owned_drydock_note",
}
"""Fields of v1 and what the versions before it call them.

https://github.com/googleapis/googleapis/blob/master/google/cloud/binaryauthorization/v1beta1/resources.proto
"""
# gcloud's beta and alpha commands ask these; their paths are those of v1 but for the version.
_OLDER = {"binaryauthorization.googleapis.com": ("v1beta1", "v1alpha2")}


@dataclass(frozen=True, slots=True)
class Route:
    """One way to ask for a method: a verb, a template, and what the body is.

    ``body`` is the request's field that the body holds, ``*`` for the request itself, empty for no
    body. ``renamed`` maps the JSON names of v1 to those of this version.
    """

    method: Method
    verb: str
    template: str
    body: str
    renamed: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Match:
    """A request's route, and the request's fields that its path gives."""

    route: Route
    variables: Mapping[str, str]


class Routes:
    """The routes of all methods of some services."""

    def __init__(self, services: Iterable[Service]) -> None:
        self._routes = [
            (route, _pattern(route.template))
            for service in services
            for route in routes_of(service)
        ]

    def find(self, verb: str, path: str) -> Match | None:
        """The route of a request, whose path is still percent-encoded; None when there is none."""
        # The documentation's own recipes write ".../notes/?noteId=".
        path = path.removesuffix("/")
        for route, pattern in self._routes:
            if route.verb == verb and (match := pattern.fullmatch(path)):
                names = [name for name, _ in _VARIABLE.findall(route.template)]
                values = (unquote(value) for value in match.groups())
                return Match(route, dict(zip(names, values, strict=True)))
        return None


def routes_of(service: Service) -> Iterator[Route]:
    """Every route of a service's methods, those of older versions included."""
    for method in methods_of(service):
        if http := method.traits.http:
            yield Route(method, http.verb, http.template, http.body, {})
            continue
        for option in _options(method):
            verb, body = option["method"].upper(), option.get("body", "")
            yield Route(method, verb, option["uri"], body, {})
            for version in _OLDER.get(service.HOST, ()):
                template = option["uri"].replace("/v1/", f"/{version}/", 1)
                yield Route(method, verb, template, body, DRYDOCK)


def _options(method: Method) -> Iterable[Mapping[str, str]]:
    """The method's ``google.api.http`` options, from the client that Google generated."""
    if isinstance(method.service, Mixin):
        return method.service.options(method.name)
    package = method.request.__module__.partition(".types.")[0]
    return _published(package, method.service.SERVICE, method.name)


@cache
def _published(package: str, service: str, method: str) -> list[dict[str, str]]:
    name = service.rpartition(".")[2]
    snake = _BEFORE_CAPITAL.sub("_", name).lower()
    module = import_module(f"{package}.services.{snake}.transports.rest_base")
    transport = getattr(module, f"_Base{name}RestTransport")
    options: list[dict[str, str]] = getattr(transport, f"_Base{method}")._get_http_options()
    return options


@cache
def _pattern(template: str) -> re.Pattern[str]:
    """A template as a regular expression with one group per variable."""
    parts, end = [], 0
    for variable in _VARIABLE.finditer(template):
        parts += [re.escape(template[end : variable.start()]), "("]
        # A colon begins the verb of a custom method, but may be in a project's id.
        last = variable.end() == len(template) or template[variable.end()] == ":"
        *segments, final = (variable[2] or "*").split("/")
        parts.append("".join(_segment(segment, "[^/]+") + "/" for segment in segments))
        parts += [_segment(final, "[^/:]+" if last else "[^/]+"), ")"]
        end = variable.end()
    return re.compile("".join([*parts, re.escape(template[end:])]))


def _segment(segment: str, wildcard: str) -> str:
    return wildcard if segment == "*" else re.escape(segment)
