"""One image of a scripted registry, and how to ask for it."""

from __future__ import annotations

import itertools

from step.model.image import ImageRef, ImageTag
from step.registry.client import Registry
from step.registry.credentials import Keychain
from tests.registry.hostile import Reply, Script, Server, digest, manifest
from tests.world import FakeClock

BODY = manifest(name="the image")


def tag(server: Server) -> ImageTag:
    return ImageTag.parse(f"{server.address}/team/app:v1")


def image(server: Server, body: bytes = BODY) -> ImageRef:
    return ImageRef.parse(f"{server.address}/team/app@{digest(body)}")


def anonymous(clock: FakeClock) -> Registry:
    return Registry(Keychain(), clock)


def replies(*several: Reply) -> Script:
    """Answer one after the other, the last one forever."""
    rest = itertools.chain(several, itertools.repeat(several[-1]))
    return lambda request: next(rest)
