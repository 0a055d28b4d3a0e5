"""Registries, as the OCI distribution specification has them: tags, manifests and indexes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Literal
from urllib.parse import urlencode, urlsplit, urlunsplit

from step.clock import Clock
from step.concurrency import Deadline
from step.errors import BadInput, NotAllowed, NotFound, Refused, Unavailable
from step.model.image import Digest, ImageName, ImageRef, ImageTag
from step.model.quoting import quoted
from step.model.strict import load_object
from step.registry.challenge import Basic, Bearer, choose
from step.registry.credentials import HUB, IdentityToken, Keychain, Login, RegistryToken, is_google
from step.registry.fetch import HOPS, REDIRECTS, Address, Failing, Fetcher, Reply
from step.registry.manifests import ACCEPTED, Manifest, Platforms, digest_of

__all__ = ["Manifest", "Platforms", "Registry"]

# Docker Hub's name is not its address, and its official images have a namespace that is left out
# (https://github.com/distribution/reference/blob/main/normalize.go).
_HUB_HOST = "registry-1.docker.io"
_HUB_NAMESPACE = "library"

# The reference registry takes no larger one
# (https://github.com/distribution/distribution/blob/main/registry/handlers/manifests.go).
_MANIFEST_LIMIT = 4 << 20
# Ample (https://github.com/containers/image/blob/main/internal/iolimits/iolimits.go).
_TOKEN_LIMIT = 1 << 20
_CLIENT = "binauthz-attest"
# A page of tags; each is in memory as a whole.
_TAGS = 1000
_DIGEST_HEADER = "Docker-Content-Digest"


class Registry:
    """Reads from registries, over TLS except on loopback; nothing that they say goes unchecked.

    What was fetched by digest, and the tokens that registries gave, are kept for the run.
    """

    def __init__(self, keychain: Keychain, clock: Clock, deadline: Deadline | None = None) -> None:
        self._keychain = keychain
        self._fetcher = Fetcher(deadline or Deadline(clock))
        self._authorizations: dict[ImageName, str] = {}
        self._manifests: dict[ImageRef, Manifest] = {}

    def resolve(self, tag: ImageTag) -> Digest:
        """The digest that a tag has now: of the bytes themselves, not of what a header claims.

        Raises NotFound without such a tag, NotAllowed, Unavailable when the registry cannot be
        asked or contradicts itself, and Refused when the tag is no image.
        """
        reply = self._ask(tag.name, f"manifests/{tag.tag}")
        if reply.status == 404:
            raise NotFound(f"{tag} does not exist", "Check the name, and that it was pushed.")
        return self._read(reply, tag.name, str(tag)).digest

    def tagged(self, name: ImageName) -> Iterator[ImageRef]:
        """The images of a repository that have a tag, each once.

        A registry that lists digests beside tags, as Google's do, is asked once for many; of
        others, each tag is resolved. Raises NotFound without such a repository, NotAllowed and
        Unavailable.
        """
        digests: dict[Digest, None] = {}
        for page in self._tag_pages(name):
            listed = page.get("manifest")
            if isinstance(listed, dict):
                tagged = (key for key, about in listed.items() if _has_tag(about))
                digests |= {Digest.parse(key): None for key in tagged}
                continue
            tags = page.get("tags")
            for tag in tags if isinstance(tags, list) else ():
                digests[self.resolve(ImageTag(name, str(tag)))] = None
        return (name.at(digest) for digest in digests)

    def _tag_pages(self, name: ImageName) -> Iterator[dict[str, Any]]:
        """https://github.com/opencontainers/distribution-spec/blob/main/spec.md#listing-tags"""
        path, seen = f"tags/list?n={_TAGS}", set[str]()
        while path not in seen:
            seen.add(path)
            reply = self._ask(name, path)
            if reply.status == 404:
                raise NotFound(f"{name} does not exist", "Check the repository's name.")
            page = load_object(reply.body, lenient=True)
            if reply.status != 200 or page is None:
                raise Unavailable(f"{name}: the registry answered with status {reply.status}")
            yield page
            # Only what comes after the last is taken from the link, which could lead anywhere.
            link = reply.headers.get("Link", "")
            match = re.search(r'[?&](last|next_page)=([^&>"]+)[^>]*>;\s*rel="?next', link)
            if match is None:
                return
            path = f"tags/list?n={_TAGS}&{match[1]}={match[2]}"
        raise Unavailable(f"{name}: the registry names the same next page again")

    def manifest(self, image: ImageRef) -> Manifest:
        """The manifest or index that a digest names, its bytes hashed and compared.

        Raises NotFound when it is not there, NotAllowed, Unavailable when the registry cannot be
        asked or sends other bytes, and Refused when it is a config, a layer or anything else.
        """
        if (known := self._manifests.get(image)) is not None:
            return known
        try:
            reply = self._ask(image.name, f"manifests/{image.digest}")
        except Failing as error:
            # How the reference registry answers when it has a config or a layer of that digest.
            if error.status == 500 and self._has_other(image):
                raise _no_manifest(image) from None
            raise
        if reply.status == 404:
            raise self._missing(image)
        self._manifests[image] = self._read(reply, image.name, str(image), image.digest)
        return self._manifests[image]

    def expand(self, image: ImageRef, platforms: Platforms) -> tuple[ImageRef, ...]:
        """The image, and of an index the images of the platforms, in the index's order.

        A single image is itself for `all`, and for `index` nothing is asked. Raises NotFound when
        a platform is not there, Refused for an index in the index, and what `manifest` raises.
        """
        if platforms == Platforms():
            return (image,)
        digests = self.manifest(image).select(platforms, str(image))
        return tuple(dict.fromkeys([image, *(image.name.at(digest) for digest in digests)]))

    def _read(
        self, reply: Reply, name: ImageName, source: str, wanted: Digest | None = None
    ) -> Manifest:
        if reply.status != 200:
            raise Unavailable(f"{source}: the registry answered with status {reply.status}")
        actual, claimed = digest_of(reply.body), reply.headers.get(_DIGEST_HEADER)
        if claimed not in (None, str(actual)) or wanted not in (None, actual):
            other = quoted(claimed) if claimed and wanted in (None, actual) else str(wanted)
            raise Unavailable(
                f"{source}: the registry sent {actual} and says that it is {other}",
                f"Do not trust {name.registry} or what is in between, a proxy for example.",
            )
        return Manifest.parse(reply.body, reply.headers.get("Content-Type", ""), source)

    def _missing(self, image: ImageRef) -> NotFound | Refused:
        """Why there is no manifest: a config and a layer are in the registry too, as blobs."""
        try:
            blob = self._ask(image.name, f"blobs/{image.digest}", "HEAD")
        except (NotAllowed, Unavailable):
            blob = None
        # Content may be elsewhere; that it is offered is enough.
        if blob is not None and (blob.status == 200 or blob.status in REDIRECTS):
            return _no_manifest(image)
        return NotFound(
            f"{image} does not exist",
            "Was the image pushed, and to this repository? A build without a push has no digest.",
        )

    def _has_other(self, image: ImageRef) -> bool:
        """Whether the registry shows that the digest is of something else than a manifest."""
        try:
            blob = self._ask(image.name, f"blobs/{image.digest}")
            if blob.status != 200 or digest_of(blob.body) != image.digest:
                return False
            if load_object(blob.body) is not None:
                Manifest.parse(blob.body, "", str(image))
                return False
        except (NotAllowed, Unavailable):
            return False
        except Refused:
            pass
        return True

    def _ask(self, name: ImageName, path: str, method: Literal["GET", "HEAD"] = "GET") -> Reply:
        """Ask for something of a repository; the reply's status is 200, 404, or not expected."""
        base, repository = _endpoint(name)
        url = f"{base}/v2/{repository}/{path}"

        def fetch(authorization: str | None) -> Reply:
            return self._fetcher.fetch(
                url,
                headers={"Accept": ACCEPTED if path.startswith("manifests/") else "*/*"},
                authorization=authorization,
                method=method,
                limit=_MANIFEST_LIMIT,
                hops=HOPS if method == "GET" else 0,
            )

        reply = fetch(self._authorizations.get(name))
        if reply.status == 401:
            # A token may also have run out since.
            if reply.address != base:
                raise NotAllowed(
                    f"{name.registry} redirected to {reply.address}, which wants credentials",
                    "They are given to the registry alone; name the registry that has the image.",
                )
            wanted = choose(reply.headers.get("WWW-Authenticate", ""))
            self._authorizations[name] = self._authorize(
                name, base, repository, wanted, internal=reply.internal
            )
            reply = fetch(self._authorizations[name])
        if reply.status in (401, 403):
            raise _denied(name)
        return reply

    def _authorize(
        self,
        name: ImageName,
        base: Address,
        repository: str,
        wanted: Bearer | Basic | None,
        *,
        internal: bool,
    ) -> str:
        """The value of the Authorization header that answers a challenge."""
        credential = self._keychain.find(name.registry)
        match wanted, credential:
            case Bearer(), RegistryToken(token):
                return f"Bearer {_token(token, name)}"
            case Bearer(), Login() | IdentityToken() | None:
                scope = wanted.scope or f"repository:{repository}:pull"
                return self._exchange(name, base, wanted, scope, credential, internal=internal)
            case Basic(), Login():
                return credential.basic
            case Basic(), None:
                raise _denied(name)
            case Basic(), _:
                raise NotAllowed(
                    f"{name.registry} wants a name and a password, and there is only a token",
                    f"docker login {name.registry} with a password.",
                )
            case _:
                raise NotAllowed(f"{name.registry} refuses, and does not say what it wants")

    def _exchange(
        self,
        name: ImageName,
        base: Address,
        wanted: Bearer,
        scope: str,
        credential: Login | IdentityToken | None,
        *,
        internal: bool,
    ) -> str:
        """Ask the token server that the registry names.

        Its address comes from the registry and gets the credentials, so it must be over TLS, and
        not in a private network when the registry is not.
        https://distribution.github.io/distribution/spec/auth/oauth/
        """
        try:
            realm = Address.of(wanted.realm)
        except BadInput:
            realm = None
        if realm is None or not base.may_name(realm):
            raise Unavailable(
                f"{name.registry} names a token server that is not asked: {quoted(wanted.realm)}",
                "It must be over https, and not in a private network for a public registry.",
            )
        fields = {"service": wanted.service, "scope": scope}
        query = {key: value for key, value in fields.items() if value}
        url, form, authorization = wanted.realm, None, None
        if isinstance(credential, IdentityToken):
            grant = {"grant_type": "refresh_token", "refresh_token": credential.token}
            form = {**grant, "client_id": _CLIENT, **query}
        else:
            url = _with_query(wanted.realm, query)
            authorization = credential.basic if credential else None
        reply = self._fetcher.fetch(
            url,
            headers={},
            authorization=authorization,
            form=form,
            limit=_TOKEN_LIMIT,
            hops=0,
            internal=internal,
        )
        if reply.status in (400, 401, 403):
            raise _denied(name)
        if reply.status != 200:
            raise Unavailable(f"{realm} answered with status {reply.status} instead of a token")
        document = load_object(reply.body, lenient=True) or {}
        return f"Bearer {_token(document.get('token') or document.get('access_token'), name)}"


def _endpoint(name: ImageName) -> tuple[Address, str]:
    """The address of the name's registry, and the repository as it is called there.

    Only loopback is spoken to without TLS. Docker's tools do so for private networks as well; but
    there, whoever is in between would learn the credentials and choose the digest of a tag.
    """
    registry = name.registry.lower()
    if registry in HUB:
        official = "/" not in name.repository
        repository = f"{_HUB_NAMESPACE}/{name.repository}" if official else name.repository
        return Address.of(f"https://{_HUB_HOST}"), repository
    plain = Address.of(f"http://{registry}")
    return plain if plain.loopback else Address.of(f"https://{registry}"), name.repository


def _has_tag(about: object) -> bool:
    """Whether a registry beyond the standard, as Google's are, says that a digest has a tag."""
    return isinstance(about, dict) and bool(about.get("tag"))


def _with_query(url: str, query: dict[str, str]) -> str:
    parts = urlsplit(url)
    joined = "&".join(filter(None, (parts.query, urlencode(query))))
    return urlunsplit((parts.scheme, parts.netloc, parts.path, joined, ""))


def _token(value: object, name: ImageName) -> str:
    """A token that can be a header's value."""
    if not isinstance(value, str) or not re.fullmatch(r"[!-~]+", value):
        raise Unavailable(f"no token could be had for {name}: there is none that can be sent")
    return value


def _no_manifest(image: ImageRef) -> Refused:
    return Refused(
        f"{image} is no manifest but an image's config or layer",
        "The digest to attest is the one that the push reported, not an image id.",
    )


def _denied(name: ImageName) -> NotAllowed:
    if is_google(name.registry):
        hint = (
            "Grant roles/artifactregistry.reader on the repository to the account that runs this "
            "step; without an account or a docker login, Google is asked anonymously."
        )
    else:
        hint = (
            f"docker login {name.registry} with an account that may pull it; a registry may say "
            "this of a repository that does not exist, too."
        )
    return NotAllowed(f"{name.registry} does not let {name.repository} be read", hint)
