"""Cloud KMS v1, the part that has to do with asymmetric signing, with real keys.

https://github.com/googleapis/googleapis/blob/master/google/cloud/kms/v1/service.proto
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from threading import Lock
from typing import Any, TypeVar

import google_crc32c
import grpc
from cryptography.hazmat.primitives.asymmetric import rsa
from google.cloud import kms_v1 as kms

from step.emulator.keys import MlDsa, SigningKey, new_rsa_key, scheme_of, wanted_input
from step.emulator.refusal import (
    EmulatorError,
    Refusal,
    already_exists,
    invalid,
    not_found,
    precondition,
)
from step.emulator.resources import check_id, masked_copy, page, parse_name
from step.emulator.rpc import rpc

LOCATION = "projects/{project}/locations/{location}"
RING = LOCATION + "/keyRings/{ring}"
KEY = RING + "/cryptoKeys/{key}"
VERSION = KEY + "/cryptoKeyVersions/{version}"

# google/cloud/kms/v1/service.proto: key_ring_id, crypto_key_id
_ID = "[a-zA-Z0-9_-]{1,63}"
# https://cloud.google.com/sdk/gcloud/reference/kms/asymmetric-sign: --input-file, 64 KiB
_MAX_DATA = 64 * 1024
# service.proto: the server picks the default
_PAGE, _MAX_PAGE = 100, 1000
# google/cloud/kms/v1/resources.proto, CryptoKey.destroy_scheduled_duration
_DESTROY_AFTER = timedelta(days=30)

_Resource = TypeVar("_Resource")

State = kms.CryptoKeyVersion.CryptoKeyVersionState
Format = kms.PublicKey.PublicKeyFormat
Purpose = kms.CryptoKey.CryptoKeyPurpose


@dataclass(frozen=True, slots=True)
class _Version:
    resource: kms.CryptoKeyVersion
    key: SigningKey


class KeyManagement:
    """``google.cloud.kms.v1.KeyManagementService``."""

    SERVICE = "google.cloud.kms.v1.KeyManagementService"
    HOST = "cloudkms.googleapis.com"
    TITLE = "Cloud Key Management Service (KMS) API"

    def __init__(
        self, now: Callable[[], datetime], rsa_key: Callable[[int], rsa.RSAPrivateKey] = new_rsa_key
    ) -> None:
        self._now = now
        self._rsa_key = rsa_key
        self._lock = Lock()
        self._rings: dict[str, kms.KeyRing] = {}
        self._keys: dict[str, kms.CryptoKey] = {}
        self._versions: dict[str, _Version] = {}

    def seed(
        self, name: str, algorithm: str, protection_level: str, versions: Sequence[tuple[str, str]]
    ) -> None:
        """Make a key, its ring, and its versions given as ``(state, algorithm)``."""
        parts = parse_name(KEY, name)
        ring = RING.format_map(parts)
        for required in (algorithm, *(chosen for _, chosen in versions)):
            scheme_of(required, protection_level)
        with self._lock:
            self._rings.setdefault(ring, kms.KeyRing(name=ring, create_time=self._now()))
            if name in self._keys:
                raise already_exists("CryptoKey", name)
            self._keys[name] = kms.CryptoKey(
                name=name,
                purpose=Purpose.ASYMMETRIC_SIGN,
                create_time=self._now(),
                version_template=kms.CryptoKeyVersionTemplate(
                    algorithm=algorithm, protection_level=protection_level
                ),
                destroy_scheduled_duration=_DESTROY_AFTER,
            )
            for state, chosen in versions:
                self._add_version(self._keys[name], chosen, State.__members__[state])

    def public_pem(self, version: str) -> bytes:
        """The public key of a version, PEM, whatever the version's state."""
        return self._version(version).key.public_pem()

    # Key rings

    @rpc("parent", "cloudkms.keyRings.create", writes=True)
    def create_key_ring(self, request: kms.CreateKeyRingRequest) -> kms.KeyRing:
        parse_name(LOCATION, request.parent)
        check_id("key_ring_id", request.key_ring_id, _ID)
        name = f"{request.parent}/keyRings/{request.key_ring_id}"
        with self._lock:
            if name in self._rings:
                raise already_exists("KeyRing", name)
            self._rings[name] = kms.KeyRing(name=name, create_time=self._now())
            return self._rings[name]

    @rpc("name", "cloudkms.keyRings.get")
    def get_key_ring(self, request: kms.GetKeyRingRequest) -> kms.KeyRing:
        parse_name(RING, request.name)
        return self._resource(self._rings, "KeyRing", request.name)

    @rpc("parent", "cloudkms.keyRings.list")
    def list_key_rings(self, request: kms.ListKeyRingsRequest) -> kms.ListKeyRingsResponse:
        parse_name(LOCATION, request.parent)
        rings = self._children(self._rings, request.parent + "/keyRings/")
        shown, token = self._page(rings, request)
        return kms.ListKeyRingsResponse(
            key_rings=shown, next_page_token=token, total_size=len(rings)
        )

    # Keys

    @rpc("parent", "cloudkms.cryptoKeys.create", writes=True)
    def create_crypto_key(self, request: kms.CreateCryptoKeyRequest) -> kms.CryptoKey:
        parse_name(RING, request.parent)
        check_id("crypto_key_id", request.crypto_key_id, _ID)
        wanted = request.crypto_key
        if wanted.purpose != Purpose.ASYMMETRIC_SIGN:
            raise invalid(
                f"CryptoKey purpose {Purpose(wanted.purpose).name} is not supported here; "
                "this emulator only makes ASYMMETRIC_SIGN keys."
            )
        template = kms.CryptoKeyVersionTemplate(
            algorithm=wanted.version_template.algorithm,
            protection_level=wanted.version_template.protection_level
            or kms.ProtectionLevel.SOFTWARE,
        )
        _check_algorithm(template)
        name = f"{request.parent}/cryptoKeys/{request.crypto_key_id}"
        with self._lock:
            if request.parent not in self._rings:
                raise not_found("KeyRing", request.parent)
            if name in self._keys:
                raise already_exists("CryptoKey", name)
            key = kms.CryptoKey(
                name=name,
                purpose=Purpose.ASYMMETRIC_SIGN,
                create_time=self._now(),
                version_template=template,
                labels=dict(wanted.labels),
                destroy_scheduled_duration=wanted.destroy_scheduled_duration or _DESTROY_AFTER,
            )
            self._keys[name] = key
            if not request.skip_initial_version_creation:
                self._add_version(key, template.algorithm.name, State.ENABLED)
            return key

    @rpc("name", "cloudkms.cryptoKeys.get")
    def get_crypto_key(self, request: kms.GetCryptoKeyRequest) -> kms.CryptoKey:
        parse_name(KEY, request.name)
        return self._resource(self._keys, "CryptoKey", request.name)

    @rpc("parent", "cloudkms.cryptoKeys.list")
    def list_crypto_keys(self, request: kms.ListCryptoKeysRequest) -> kms.ListCryptoKeysResponse:
        parse_name(RING, request.parent)
        self._resource(self._rings, "KeyRing", request.parent)
        keys = self._children(self._keys, request.parent + "/cryptoKeys/")
        shown, token = self._page(keys, request)
        return kms.ListCryptoKeysResponse(
            crypto_keys=shown, next_page_token=token, total_size=len(keys)
        )

    # Key versions

    @rpc("parent", "cloudkms.cryptoKeyVersions.create", writes=True)
    def create_crypto_key_version(
        self, request: kms.CreateCryptoKeyVersionRequest
    ) -> kms.CryptoKeyVersion:
        parse_name(KEY, request.parent)
        key = self._resource(self._keys, "CryptoKey", request.parent)
        with self._lock:
            return self._add_version(key, key.version_template.algorithm.name, State.ENABLED)

    @rpc("name", "cloudkms.cryptoKeyVersions.get")
    def get_crypto_key_version(
        self, request: kms.GetCryptoKeyVersionRequest
    ) -> kms.CryptoKeyVersion:
        return self._version(request.name).resource

    @rpc("parent", "cloudkms.cryptoKeyVersions.list")
    def list_crypto_key_versions(
        self, request: kms.ListCryptoKeyVersionsRequest
    ) -> kms.ListCryptoKeyVersionsResponse:
        parse_name(KEY, request.parent)
        self._resource(self._keys, "CryptoKey", request.parent)
        prefix = request.parent + "/cryptoKeyVersions/"
        versions = [
            (f"{int(name.removeprefix(prefix)):012d}", _settled(version, self._now()).resource)
            for name, version in self._children(self._versions, prefix)
        ]
        shown, token = self._page(versions, request)
        return kms.ListCryptoKeyVersionsResponse(
            crypto_key_versions=shown, next_page_token=token, total_size=len(versions)
        )

    @rpc("crypto_key_version.name", "cloudkms.cryptoKeyVersions.update", writes=True)
    def update_crypto_key_version(
        self, request: kms.UpdateCryptoKeyVersionRequest
    ) -> kms.CryptoKeyVersion:
        paths = list(request.update_mask.paths)
        if paths != ["state"]:
            raise invalid("update_mask must be exactly 'state'.")
        wanted = State(request.crypto_key_version.state)
        switchable = {State.ENABLED, State.DISABLED}
        if wanted not in switchable:
            raise invalid(f"state cannot be set to {wanted.name}, only to ENABLED or DISABLED.")
        return self._change(
            request.crypto_key_version.name,
            switchable,
            lambda old: masked_copy(old, request.crypto_key_version, paths),
        )

    @rpc("name", "cloudkms.cryptoKeyVersions.destroy", writes=True)
    def destroy_crypto_key_version(
        self, request: kms.DestroyCryptoKeyVersionRequest
    ) -> kms.CryptoKeyVersion:
        def scheduled(old: kms.CryptoKeyVersion) -> kms.CryptoKeyVersion:
            key = self._keys[old.name.partition("/cryptoKeyVersions/")[0]]
            when = self._now() + key.destroy_scheduled_duration
            return _with(old, state=State.DESTROY_SCHEDULED, destroy_time=when)

        return self._change(request.name, {State.ENABLED, State.DISABLED}, scheduled)

    @rpc("name", "cloudkms.cryptoKeyVersions.restore", writes=True)
    def restore_crypto_key_version(
        self, request: kms.RestoreCryptoKeyVersionRequest
    ) -> kms.CryptoKeyVersion:
        def restored(old: kms.CryptoKeyVersion) -> kms.CryptoKeyVersion:
            return _with(old, state=State.DISABLED, destroy_time=None)

        return self._change(request.name, {State.DESTROY_SCHEDULED}, restored)

    # Use

    @rpc("name", "cloudkms.cryptoKeyVersions.viewPublicKey")
    def get_public_key(self, request: kms.GetPublicKeyRequest) -> kms.PublicKey:
        version = self._enabled(request.name)
        wanted = Format(request.public_key_format)
        answer: dict[str, Any] = {
            "name": version.resource.name,
            "algorithm": version.resource.algorithm,
            "protection_level": version.resource.protection_level,
        }
        if wanted == Format.PUBLIC_KEY_FORMAT_UNSPECIFIED:
            if isinstance(version.key.scheme, MlDsa):
                raise invalid("public_key_format must be specified for PQC algorithms.")
            pem = version.key.public_pem()
            return kms.PublicKey(**answer, pem=pem.decode(), pem_crc32c=google_crc32c.value(pem))
        data = _exported(version.key, wanted)
        return kms.PublicKey(
            **answer,
            public_key_format=wanted,
            public_key=kms.ChecksummedData(data=data, crc32c_checksum=google_crc32c.value(data)),
        )

    @rpc("name", "cloudkms.cryptoKeyVersions.useToSign")
    def asymmetric_sign(self, request: kms.AsymmetricSignRequest) -> kms.AsymmetricSignResponse:
        version = self._enabled(request.name)
        value = _signed_value(version, request)
        try:
            signature = version.key.sign(value)
        except ValueError as error:
            raise invalid(f"The data cannot be signed with {request.name}: {error}.") from error
        return kms.AsymmetricSignResponse(
            name=version.resource.name,
            signature=signature,
            signature_crc32c=google_crc32c.value(signature),
            verified_digest_crc32c=request.digest_crc32c is not None,
            verified_data_crc32c=request.data_crc32c is not None,
            protection_level=version.resource.protection_level,
        )

    # State

    def _add_version(self, key: kms.CryptoKey, algorithm: str, state: int) -> kms.CryptoKeyVersion:
        prefix = key.name + "/cryptoKeyVersions/"
        number = 1 + sum(name.startswith(prefix) for name in self._versions)
        level = kms.ProtectionLevel(key.version_template.protection_level)
        resource = kms.CryptoKeyVersion(
            name=f"{prefix}{number}",
            state=state,
            algorithm=algorithm,
            protection_level=level,
            create_time=self._now(),
            generate_time=self._now(),
        )
        scheme = scheme_of(algorithm, level.name)
        self._versions[resource.name] = _Version(resource, SigningKey(scheme, self._rsa_key))
        return resource

    def _change(
        self,
        name: str,
        allowed: Collection[int],
        change: Callable[[kms.CryptoKeyVersion], kms.CryptoKeyVersion],
    ) -> kms.CryptoKeyVersion:
        self._version(name)
        with self._lock:
            version = _settled(self._versions[name], self._now())
            state = State(version.resource.state)
            if state not in allowed:
                raise precondition(f"{name} cannot be changed, current state is: {state.name}.")
            self._versions[name] = replace(version, resource=change(version.resource))
            return self._versions[name].resource

    def _version(self, name: str) -> _Version:
        parse_name(VERSION, name)
        return _settled(self._resource(self._versions, "CryptoKeyVersion", name), self._now())

    def _enabled(self, name: str) -> _Version:
        version = self._version(name)
        state = State(version.resource.state)
        if state != State.ENABLED:
            raise precondition(f"{name} is not enabled, current state is: {state.name}.")
        return version

    def _resource(self, kept: dict[str, _Resource], kind: str, name: str) -> _Resource:
        with self._lock:
            if name not in kept:
                raise not_found(kind, name)
            return kept[name]

    def _children(self, kept: dict[str, _Resource], prefix: str) -> list[tuple[str, _Resource]]:
        with self._lock:
            return [entry for entry in kept.items() if entry[0].startswith(prefix)]

    @staticmethod
    def _page(entries: list[tuple[str, _Resource]], request: Any) -> tuple[list[_Resource], str]:
        if request.filter or request.order_by:
            raise Refusal(
                grpc.StatusCode.UNIMPLEMENTED, "filter and order_by are not supported here."
            )
        return page(
            entries,
            query=(request.parent,),
            token=request.page_token,
            size=request.page_size,
            default=_PAGE,
            maximum=_MAX_PAGE,
        )


def _check_algorithm(template: kms.CryptoKeyVersionTemplate) -> None:
    algorithm = kms.CryptoKeyVersion.CryptoKeyVersionAlgorithm(template.algorithm)
    try:
        scheme_of(algorithm.name, kms.ProtectionLevel(template.protection_level).name)
    except EmulatorError as error:
        raise invalid(f"version_template: {error}.") from error


def _settled(version: _Version, now: datetime) -> _Version:
    """The version as it is by now: destroyed, once its scheduled destruction is due."""
    when = version.resource.destroy_time
    if version.resource.state != State.DESTROY_SCHEDULED or when is None or when > now:
        return version
    gone = _with(version.resource, state=State.DESTROYED, destroy_event_time=when)
    return replace(version, resource=gone)


def _with(old: kms.CryptoKeyVersion, **changes: Any) -> kms.CryptoKeyVersion:
    new = kms.CryptoKeyVersion(old)
    for field, value in changes.items():
        setattr(new, field, value)
    return new


def _exported(key: SigningKey, wanted: Format) -> bytes:
    match wanted:
        case Format.PEM:
            return key.public_pem()
        case Format.DER:
            return key.public_der()
        case Format.NIST_PQC if isinstance(key.scheme, MlDsa):
            return key.public_raw()
    raise invalid(f"public_key_format {wanted.name} is not supported for this key's algorithm.")


def _signed_value(version: _Version, request: kms.AsymmetricSignRequest) -> bytes:
    """The bytes to sign, after every check of the request that Cloud KMS documents."""
    algorithm = kms.CryptoKeyVersion.CryptoKeyVersionAlgorithm(version.resource.algorithm).name
    field, length = wanted_input(version.key.scheme)
    kind = kms.Digest.pb(request.digest).WhichOneof("digest") if "digest" in request else None
    if request.data and kind is not None:
        raise invalid("Only one of digest and data can be supplied.")
    given = kind or ("data" if request.data else "nothing")
    if given != field:
        raise invalid(f"Algorithm {algorithm} signs {field}, but the request carries {given}.")
    value: bytes = request.data if field == "data" else getattr(request.digest, field)
    if length is not None and len(value) != length:
        raise invalid(f"digest.{field} must be {length} bytes long, not {len(value)}.")
    if field == "data" and len(value) > _MAX_DATA:
        raise invalid(f"data must be at most {_MAX_DATA} bytes long, not {len(value)}.")
    part = "data" if field == "data" else "digest"
    for checksum, name in ((request.digest_crc32c, "digest"), (request.data_crc32c, "data")):
        checked = value if name == part else b""
        if checksum is not None and checksum != google_crc32c.value(checked):
            raise invalid(
                f"The checksum in field {name}_crc32c did not match the data in field {name}."
            )
    return value
