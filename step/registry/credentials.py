"""Credentials for registries: docker's own configuration, then Google's, then none."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from select import select
from subprocess import DEVNULL, PIPE, Popen, TimeoutExpired
from typing import Any, TypeAlias

from step.clock import SystemClock, show_duration
from step.concurrency import Deadline
from step.errors import BadInput, NotAllowed
from step.model.strict import load_object

# Docker Hub's registry goes by several names; docker's configuration has it under an old address
# (https://docs.docker.com/reference/cli/docker/login/).
HUB = ("docker.io", "index.docker.io", "registry-1.docker.io")
_HUB_KEY = "https://index.docker.io/v1/"
# What docker takes an address for, and not a repository below the host: credentials for one
# repository are not for the others.
_ADDRESS = re.compile(r"(?:https?://)?([^/]+)(?:/(?:v[12]/?)?)?")

# https://github.com/docker/docker-credential-helpers: the program's name, what it answers when it
# has nothing, and the user name that marks an identity token.
_HELPER = re.compile(r"[A-Za-z0-9_.-]+")
_MISS = "credentials not found in native keychain"
_TOKEN_USER = "<token>"  # noqa: S105 - a mark, no secret
HELPER_SECONDS = 10.0
# Our own secrets in the environment are none of a helper's business.
_OURS = ("BINAUTHZ_", "INPUT_")

# An access token as a password
# (https://cloud.google.com/artifact-registry/docs/docker/authentication#token).
_GOOGLE_USER = "oauth2accesstoken"
_CONFIG_LIMIT = 1 << 20
_ANSWER_LIMIT = 1 << 20


@dataclass(frozen=True, slots=True)
class Login:
    """A user's name and password."""

    username: str
    password: str = field(repr=False)

    @property
    def basic(self) -> str:
        """The value of an Authorization header (RFC 7617)."""
        pair = f"{self.username}:{self.password}".encode()
        return f"Basic {base64.b64encode(pair).decode()}"


@dataclass(frozen=True, slots=True)
class IdentityToken:
    """An OAuth 2 refresh token, exchanged for a token at the registry's token server."""

    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class RegistryToken:
    """A token that the registry itself takes, as it is."""

    token: str = field(repr=False)


Credential: TypeAlias = Login | IdentityToken | RegistryToken


def is_google(registry: str) -> bool:
    """Whether the host is Artifact Registry's or Container Registry's."""
    host = registry.lower()
    return host == "gcr.io" or host.endswith((".gcr.io", ".pkg.dev"))


class Keychain:
    """What docker's configuration and Application Default Credentials have for a registry.

    `config` is the text of docker's config.json, `environ` what credential helpers are started
    with (less our own secrets), and `google` gives a Google access token, or None without an
    account; it is asked only for Google's registries, and only when docker has nothing. Raises
    BadInput when the text is not such a configuration; no message quotes it.
    """

    def __init__(
        self,
        config: str | None = None,
        *,
        environ: Mapping[str, str] | None = None,
        google: Callable[[], str | None] | None = None,
        deadline: Deadline | None = None,
    ) -> None:
        document = _read_config(config)
        self._auths = _section(document, "auths")
        self._helpers = _section(document, "credHelpers")
        self._store = document.get("credsStore", "")
        self._environ = {
            name: value for name, value in (environ or {}).items() if not name.startswith(_OURS)
        }
        self._google = google
        self._deadline = deadline or Deadline(SystemClock())

    @classmethod
    def load(
        cls,
        environ: Mapping[str, str],
        *,
        google: Callable[[], str | None] | None = None,
        deadline: Deadline | None = None,
    ) -> Keychain:
        """Read config.json from where docker has it: $DOCKER_CONFIG, else $HOME/.docker.

        A file that is not there is an empty one. Raises BadInput when it cannot be read.
        """
        home = environ.get("HOME", "")
        folder = environ.get("DOCKER_CONFIG") or (home and f"{home}/.docker")
        text = _read_file(Path(folder) / "config.json") if folder else None
        return cls(text, environ=environ, google=google, deadline=deadline)

    def find(self, registry: str) -> Credential | None:
        """What there is for a registry host; None means to ask anonymously.

        The order is docker's (https://github.com/docker/cli/blob/master/cli/config/configfile/
        file.go): the helper of this host, else the store for all hosts, else the file itself,
        which is not read when one of the others is responsible. Raises BadInput when an entry
        cannot be used, and NotAllowed when a helper or Google refuses.
        """
        registry = registry.lower()
        known = self._from_docker(registry)
        if known is None and self._google is not None and is_google(registry):
            token = self._google()
            return Login(_GOOGLE_USER, token) if token else None
        return known

    def _from_docker(self, registry: str) -> Credential | None:
        helper = _entry(self._helpers, registry)
        if helper is None:
            helper = self._store
        if helper:
            return self._ask(helper, _HUB_KEY if registry in HUB else registry)
        return _from_auths(_entry(self._auths, registry), registry)

    def _ask(self, helper: object, server: str) -> Credential | None:
        """Ask a credential helper; the host goes in on its standard input.

        It is the one program that this one ever starts, named by docker's configuration alone.
        """
        if not isinstance(helper, str) or not _HELPER.fullmatch(helper):
            raise BadInput(
                "docker's config.json names a credential helper that cannot be one",
                "credHelpers and credsStore hold what follows docker-credential- in its name.",
            )
        program = f"docker-credential-{helper}"
        try:
            own = timedelta(seconds=HELPER_SECONDS)
            limit = min(own, self._deadline.require(program))
            status, said = _run([program, "get"], server.encode(), self._environ, limit)
        except FileNotFoundError:
            raise BadInput(
                f"{program}, which docker's config.json names for {server}, is not installed",
                "Install it, or point DOCKER_CONFIG to a folder whose config.json names none.",
            ) from None
        except TimeoutExpired:
            if limit < own:
                raise self._deadline.over(program) from None
            raise NotAllowed(
                f"{program} did not answer within {show_duration(own)}",
                "It may be waiting for somebody to unlock a keychain.",
            ) from None
        except OSError as error:
            raise BadInput(f"{program} cannot be run: {error.strerror}") from None
        if status:
            if _MISS.encode() in said:
                return None
            # What it printed stays out: it may hold what it was asked for.
            raise NotAllowed(
                f"{program} failed with status {status} for {server}",
                f"docker login {server} again, or take the helper out of docker's config.json.",
            )
        return _from_helper(said, program)


def _run(
    command: list[str], question: bytes, environ: Mapping[str, str], limit: timedelta
) -> tuple[int, bytes]:
    """Its status and what it printed, which as for docker is all that counts.

    https://github.com/docker/docker-credential-helpers/blob/master/client/client.go. Of more than
    an answer can be, only the beginning is read. Raises TimeoutExpired.
    """
    elapsed = SystemClock().elapsed
    until = elapsed() + limit

    def left() -> float:
        return max((until - elapsed()).total_seconds(), 0)

    with Popen(command, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, env=environ, bufsize=0) as process:
        assert process.stdin  # noqa: S101 - a pipe, as the other
        assert process.stdout  # noqa: S101
        try:
            with suppress(BrokenPipeError), process.stdin as asked:
                asked.write(question)
            said = bytearray()
            while select([process.stdout], [], [], left())[0]:
                said += (chunk := process.stdout.read(_ANSWER_LIMIT))
                if len(said) > _ANSWER_LIMIT:
                    return 0, bytes(said)
                if not chunk:
                    return process.wait(left()), bytes(said)
            raise TimeoutExpired(command, limit.total_seconds())
        finally:
            process.kill()


def _read_file(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            content = file.read(_CONFIG_LIMIT + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BadInput(f"docker's {path} cannot be read: {error.strerror}") from None
    if len(content) > _CONFIG_LIMIT:
        raise BadInput(f"docker's {path} is larger than {_CONFIG_LIMIT} bytes")
    return content.decode("utf-8", "replace")


def _read_config(text: str | None) -> dict[str, Any]:
    if text is None or not text.strip():
        return {}
    document = load_object(text, lenient=True)
    if document is None:
        raise BadInput("docker's config.json is not a JSON object", "docker login writes it anew.")
    return document


def _section(document: dict[str, Any], name: str) -> dict[str, object]:
    section = document.get(name) or {}
    if not isinstance(section, dict):
        raise BadInput(f"{name} in docker's config.json is not a JSON object")
    return section


def _entry(section: Mapping[str, object], registry: str) -> object:
    """The entry for a host: under its own name, else under an address of it."""
    names = (registry, _HUB_KEY, *HUB) if registry in HUB else (registry,)
    for name in names:
        if name in section:
            return section[name]
    for key, value in section.items():
        match = _ADDRESS.fullmatch(key)
        if match and match[1].lower() in names:
            return value
    return None


def _from_auths(entry: object, registry: str) -> Credential | None:
    broken = BadInput(
        f"the entry for {registry} in docker's config.json cannot be read",
        f"docker login {registry} writes it anew.",
    )
    if entry is None:
        return None
    if not isinstance(entry, dict):
        raise broken
    names = ("registrytoken", "identitytoken", "auth", "username", "password")
    values = [entry.get(name) or "" for name in names]
    if not all(isinstance(value, str) for value in values):
        raise broken
    registry_token, identity_token, auth, username, password = values
    if not _sendable(*values):
        raise broken
    if registry_token:
        return RegistryToken(registry_token)
    if identity_token:
        return IdentityToken(identity_token)
    if auth:
        try:
            pair = base64.b64decode(auth, validate=True).decode()
        except ValueError:
            raise broken from None
        username, colon, password = pair.partition(":")
        if not username or not colon:
            raise broken
        # docker itself drops them: some tools pad with them.
        password = password.strip("\0")
    return Login(username, password) if username else None


def _from_helper(output: bytes, program: str) -> Credential | None:
    answer = load_object(output, lenient=True) or {}
    user, secret = answer.get("Username"), answer.get("Secret")
    if not isinstance(user, str) or not isinstance(secret, str) or not _sendable(user, secret):
        raise NotAllowed(
            f"{program} did not answer with a user name and a secret",
            "It has to print them as a JSON object with Username and Secret.",
        )
    if not secret:
        return None
    return IdentityToken(secret) if user == _TOKEN_USER else Login(user, secret)


def _sendable(*texts: object) -> bool:
    """Whether the texts have bytes: JSON may escape half of a pair of surrogates."""
    return not any(isinstance(text, str) and re.search("[\ud800-\udfff]", text) for text in texts)
