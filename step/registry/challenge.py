"""What a registry asks for before it answers: the WWW-Authenticate header."""

from __future__ import annotations

import re
from dataclasses import dataclass

# RFC 9110, 5.6.2 and 11.2. Values without quotes are read up to the next comma or space, since
# registries write addresses that way too.
_NAME = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PARAMETER = re.compile(rf'({_NAME})[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([^\s,"=]+)(?=[\s,]|\Z))')
_SCHEME = re.compile(rf"({_NAME})(?=[\s,]|\Z)")
_TOKEN68 = re.compile(r"[ \t]+[A-Za-z0-9._~+/-]+=*[ \t]*(?=,|\Z)")
_BETWEEN = re.compile(r"[\s,]*")


@dataclass(frozen=True, slots=True)
class Bearer:
    """A token is wanted, which the token server at `realm` gives.

    https://distribution.github.io/distribution/spec/auth/token/
    """

    realm: str
    service: str
    scope: str


@dataclass(frozen=True, slots=True)
class Basic:
    """A name and a password are wanted, by the registry itself."""


def read_challenges(header: str) -> tuple[tuple[str, dict[str, str]], ...]:
    """Every challenge of the header, its scheme in lower case, with its parameters.

    What follows something that is no challenge is left out.
    """
    challenges: list[tuple[str, dict[str, str]]] = []
    at = _end(_BETWEEN.match(header))
    while at < len(header):
        if challenges and (match := _PARAMETER.match(header, at)):
            quoted, plain = match[2], match[3]
            value = plain if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
            challenges[-1][1].setdefault(match[1].lower(), value)
        elif match := _SCHEME.match(header, at):
            challenges.append((match[1].lower(), {}))
            at = match.end()
            if not _PARAMETER.match(header, _end(_BETWEEN.match(header, at))):
                match = _TOKEN68.match(header, at) or match
        else:
            break
        at = _end(_BETWEEN.match(header, match.end()))
    return tuple(challenges)


def choose(header: str) -> Bearer | Basic | None:
    """The challenge to answer: a token's, else a password's; None when there is neither."""
    challenges = read_challenges(header)
    for scheme, parameters in challenges:
        if scheme == "bearer" and parameters.get("realm"):
            service, scope = parameters.get("service", ""), parameters.get("scope", "")
            return Bearer(parameters["realm"], service, scope)
    return Basic() if any(scheme == "basic" for scheme, _ in challenges) else None


def _end(match: re.Match[str] | None) -> int:
    return match.end() if match else 0
