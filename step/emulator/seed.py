"""What an emulator starts with, read from YAML; every unknown key is refused."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any, TypeVar

import yaml
from google.cloud import binaryauthorization_v1 as ba
from google.cloud import kms_v1
from google.cloud.devtools import cloudbuild_v1 as cloudbuild
from google.iam.v1 import policy_pb2
from google.protobuf import json_format
from grafeas import grafeas_v1

from step.emulator.binary_authorization import BinaryAuthorization
from step.emulator.builds import CloudBuild
from step.emulator.grafeas import Grafeas
from step.emulator.iam import IamPolicies
from step.emulator.kms import KeyManagement, State
from step.emulator.platform_policies import PlatformPolicies
from step.emulator.refusal import EmulatorError, Refusal
from step.emulator.shapes import Document

_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True)
class SeedKey:
    """A signing key in Cloud KMS; ``versions`` are ``(state, algorithm)``, numbered from 1."""

    name: str
    algorithm: str
    protection_level: str
    versions: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class KmsPublicKey:
    """A key that an attestor holds by the name of its version in Cloud KMS."""

    version: str
    id: str
    comment: str


@dataclass(frozen=True, slots=True)
class SeedAttestor:
    """An attestor, and the keys that it trusts."""

    name: str
    note: str
    description: str
    public_keys: tuple[KmsPublicKey | ba.AttestorPublicKey, ...]


@dataclass(frozen=True, slots=True)
class Seed:
    """Everything an emulator starts with; ``projects`` are numbers by id."""

    projects: Mapping[str, int] = field(default_factory=dict)
    keys: tuple[SeedKey, ...] = ()
    notes: tuple[grafeas_v1.Note, ...] = ()
    attestors: tuple[SeedAttestor, ...] = ()
    policies: tuple[ba.Policy, ...] = ()
    system_policy: ba.Policy = field(default_factory=ba.Policy)
    platform_policies: tuple[Document, ...] = ()
    builds: tuple[cloudbuild.Build, ...] = ()
    occurrences: tuple[grafeas_v1.Occurrence, ...] = ()
    iam_policies: Mapping[str, policy_pb2.Policy] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path) -> "Seed":
        """Read a YAML file; ``file:`` entries are relative to it.

        Raises EmulatorError, one line that says where, for anything unreadable or unknown.
        """
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise EmulatorError(f"cannot read the seed {path}: {reason}") from error
        return cls.parse(text, path.parent)

    @classmethod
    def parse(cls, text: str, directory: Path = Path()) -> "Seed":
        """Read a YAML text; ``file:`` entries are relative to ``directory``."""
        try:
            document = yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader
        except yaml.YAMLError as error:
            raise EmulatorError(f"seed: not YAML: {' '.join(str(error).split())}") from error
        top = _Node("seed", {} if document is None else document).mapping(
            *("projects", "keys", "notes", "attestors", "policies", "system_policy"),
            *("platform_policies", "builds", "occurrences", "iam_policies"),
        )
        system = top.child("system_policy")
        return cls(
            projects=top.numbers("projects"),
            keys=top.list("keys", _key),
            notes=top.list("notes", _note),
            attestors=top.list("attestors", lambda node: _attestor(node, directory)),
            policies=top.list("policies", lambda node: node.message(ba.Policy)),
            system_policy=ba.Policy() if system.value is None else system.message(ba.Policy),
            platform_policies=top.list("platform_policies", _document),
            builds=top.list("builds", lambda node: node.message(cloudbuild.Build)),
            occurrences=top.list("occurrences", lambda node: node.message(grafeas_v1.Occurrence)),
            iam_policies=top.messages("iam_policies", policy_pb2.Policy),
        )

    @property
    def project_ids(self) -> frozenset[str]:
        """The projects that it names, in whatever resource."""
        names = [
            *(key.name for key in self.keys),
            *(note.name for note in self.notes),
            *(name for each in self.attestors for name in (each.name, each.note)),
            *(policy.name for policy in self.policies),
            *(str(policy.get("name")) for policy in self.platform_policies),
            *(build.name or f"projects/{build.project_id}" for build in self.builds),
            *(name for each in self.occurrences for name in (each.name, each.note_name)),
            *self.iam_policies,
        ]
        matches = (re.match("projects/([^/]+)", name) for name in names)
        return frozenset(self.projects) | {match[1] for match in matches if match}


def plant(
    seed: Seed,
    kms: KeyManagement,
    grafeas: Grafeas,
    authorization: BinaryAuthorization,
    platform_policies: PlatformPolicies,
    builds: CloudBuild,
    iam: Sequence[IamPolicies],
) -> None:
    """Put a seed into the services; EmulatorError where they refuse it."""
    for key in seed.keys:
        with _refused_as(f"key {key.name}"):
            kms.seed(key.name, key.algorithm, key.protection_level, key.versions)
    for note in seed.notes:
        with _refused_as(f"note {note.name}"):
            grafeas.seed_note(note)
    for attestor in seed.attestors:
        with _refused_as(f"attestor {attestor.name}"):
            _plant_attestor(attestor, kms, grafeas, authorization)
    for policy in seed.policies:
        with _refused_as(f"policy {policy.name}"):
            wanted = ba.Policy(policy)
            wanted.etag = ""  # an exported policy carries that of where it came from
            authorization.update_policy(ba.UpdatePolicyRequest(policy=wanted))
    for document in seed.platform_policies:
        with _refused_as(f"platform policy {document.get('name', '')}"):
            platform_policies.seed(document)
    for build in seed.builds:
        with _refused_as(f"build {build.name or build.id}"):
            builds.seed(build)
    for occurrence in seed.occurrences:
        with _refused_as(f"occurrence {occurrence.name or occurrence.resource_uri}"):
            grafeas.seed_occurrence(occurrence)
    for resource, iam_policy in seed.iam_policies.items():
        with _refused_as(f"IAM policy of {resource}"):
            keeper = next((each for each in iam if each.has(resource)), iam[0])
            keeper.seed(resource, iam_policy)


@contextmanager
def _refused_as(what: str) -> Iterator[None]:
    try:
        yield
    except (Refusal, EmulatorError) as error:
        raise EmulatorError(f"seed: {what}: {error}") from error


def _plant_attestor(
    attestor: SeedAttestor, kms: KeyManagement, grafeas: Grafeas, authorization: BinaryAuthorization
) -> None:
    grafeas.seed_note(_attestation_note(attestor.note, attestor.description))
    keys = [
        key if isinstance(key, ba.AttestorPublicKey) else _kms_public_key(key, kms)
        for key in attestor.public_keys
    ]
    parent, _, identity = attestor.name.partition("/attestors/")
    authorization.create_attestor(
        ba.CreateAttestorRequest(
            parent=parent,
            attestor_id=identity,
            attestor=ba.Attestor(
                name=attestor.name,
                description=attestor.description,
                user_owned_grafeas_note=ba.UserOwnedGrafeasNote(
                    note_reference=attestor.note, public_keys=keys
                ),
            ),
        )
    )


def _kms_public_key(key: KmsPublicKey, kms: KeyManagement) -> ba.AttestorPublicKey:
    version = kms.get_crypto_key_version(kms_v1.GetCryptoKeyVersionRequest(name=key.version))
    algorithm = kms_v1.CryptoKeyVersion.CryptoKeyVersionAlgorithm(version.algorithm).name
    # The two APIs name ML-DSA differently; RSA and EC names are shared.
    name = algorithm.removeprefix("PQ_SIGN_")
    if name not in ba.PkixPublicKey.SignatureAlgorithm.__members__:
        raise EmulatorError(f"{key.version}: Binary Authorization has no algorithm {algorithm}")
    return ba.AttestorPublicKey(
        id=key.id,
        comment=key.comment,
        pkix_public_key=ba.PkixPublicKey(
            public_key_pem=kms.public_pem(key.version).decode(),
            signature_algorithm=ba.PkixPublicKey.SignatureAlgorithm.__members__[name],
        ),
    )


# The form of each entry

_NOTE_TYPES = {
    field.json_name for field in grafeas_v1.Note.pb().DESCRIPTOR.oneofs_by_name["type"].fields
}


class _Loader(yaml.SafeLoader):
    """Refuses a key given twice, of which plain YAML loaders keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(
                    problem=f"key {key!r} is given twice", problem_mark=node.start_mark
                )
        return super().construct_mapping(node, deep)


def _key(node: "_Node") -> SeedKey:
    entry = node.mapping("name", "algorithm", "protection_level", "versions")
    algorithm = entry.text("algorithm", "EC_SIGN_P256_SHA256")

    def version(inner: _Node) -> tuple[str, str]:
        wanted = inner.mapping("state", "algorithm")
        return wanted.choice("state", State, "ENABLED"), wanted.text("algorithm", algorithm)

    return SeedKey(
        name=entry.text("name"),
        algorithm=algorithm,
        protection_level=entry.choice("protection_level", kms_v1.ProtectionLevel, "SOFTWARE"),
        versions=entry.list("versions", version) or (("ENABLED", algorithm),),
    )


def _note(node: "_Node") -> grafeas_v1.Note:
    """A note of the API, or the short form of an attestation's."""
    if isinstance(node.value, dict) and node.value.keys() & _NOTE_TYPES:
        note: grafeas_v1.Note = node.message(grafeas_v1.Note)
        return note
    entry = node.mapping("name", "human_readable_name")
    return _attestation_note(entry.text("name"), entry.text("human_readable_name", ""))


def _attestation_note(name: str, human_readable_name: str) -> grafeas_v1.Note:
    hint = grafeas_v1.AttestationNote.Hint(human_readable_name=human_readable_name or name)
    return grafeas_v1.Note(name=name, attestation=grafeas_v1.AttestationNote(hint=hint))


def _document(node: "_Node") -> Document:
    if not isinstance(node.value, dict):
        raise node.error("must be a mapping")
    document: Document = _json(node.value)
    return document


def _attestor(node: "_Node", directory: Path) -> SeedAttestor:
    entry = node.mapping("name", "note", "description", "public_keys")
    return SeedAttestor(
        name=entry.text("name"),
        note=entry.text("note"),
        description=entry.text("description", ""),
        public_keys=entry.list("public_keys", lambda key: _public_key(key, directory)),
    )


def _public_key(node: "_Node", directory: Path) -> KmsPublicKey | ba.AttestorPublicKey:
    kind = node.mapping("kms", "pkix", "pgp", "id", "comment").only("kms", "pkix", "pgp")
    entry = node.mapping(kind, "comment", *(["id"] if kind == "kms" else []))
    comment = entry.text("comment", "")
    if kind == "kms":
        version = entry.text("kms")
        # https://cloud.google.com/binary-authorization/docs/making-attestations: the key's URI
        default = f"//cloudkms.googleapis.com/v1/{version}"
        return KmsPublicKey(version, entry.text("id", default), comment)
    if kind == "pgp":
        pgp = entry.child("pgp").mapping("armored", "file")
        return ba.AttestorPublicKey(
            comment=comment, ascii_armored_pgp_public_key=pgp.inline_or_file("armored", directory)
        )
    pkix = entry.child("pkix").mapping("pem", "file", "algorithm", "id")
    names = ba.PkixPublicKey.SignatureAlgorithm
    return ba.AttestorPublicKey(
        comment=comment,
        id=pkix.text("id", ""),
        pkix_public_key=ba.PkixPublicKey(
            public_key_pem=pkix.inline_or_file("pem", directory),
            signature_algorithm=names.__members__[pkix.choice("algorithm", names)],
        ),
    )


@dataclass(frozen=True, slots=True)
class _Node:
    """A value in the document and where it stands, for the error's one line."""

    where: str
    value: Any

    def error(self, problem: str) -> EmulatorError:
        return EmulatorError(f"{self.where}: {problem}")

    def mapping(self, *keys: str) -> "_Node":
        if not isinstance(self.value, dict):
            raise self.error(f"must be a mapping with {', '.join(keys)}")
        unknown = [str(key) for key in self.value if key not in keys]
        if unknown:
            raise self.error(f"unknown key {unknown[0]!r}; there are {', '.join(keys)}")
        return self

    def child(self, key: str) -> "_Node":
        return _Node(f"{self.where}.{key}", self.value.get(key))

    def text(self, key: str, default: str | None = None) -> str:
        child = self.child(key)
        if child.value is None and default is not None:
            return default
        if not isinstance(child.value, str) or not child.value:
            raise child.error("must be a text" if key in self.value else "is required")
        return child.value

    def choice(self, key: str, names: Any, default: str | None = None) -> str:
        text = self.text(key, default)
        if text not in names.__members__:
            raise self.child(key).error(f"no such value {text!r}")
        return text

    def only(self, *keys: str) -> str:
        given = [key for key in keys if self.value.get(key) is not None]
        if len(given) != 1:
            raise self.error(f"needs exactly one of {', '.join(keys)}")
        return given[0]

    def inline_or_file(self, key: str, directory: Path) -> str:
        if self.only(key, "file") == key:
            return self.text(key)
        path = directory / self.text("file")
        try:
            return path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise self.child("file").error(f"cannot read {path}: {error}") from error

    def list(self, key: str, read: Callable[["_Node"], _Item]) -> tuple[_Item, ...]:
        child = self.child(key)
        if child.value is None:
            return ()
        if not isinstance(child.value, list):
            raise child.error("must be a list")
        nodes = (_Node(f"{child.where}[{index}]", item) for index, item in enumerate(child.value))
        return tuple(read(node) for node in nodes)

    def numbers(self, key: str) -> dict[str, int]:
        child = self.child(key)
        if child.value is None:
            return {}
        if not isinstance(child.value, dict):
            raise child.error("must be a mapping of project ids")
        numbers: dict[str, int] = {}
        for project in child.value:
            entry = child.child(project).mapping("number")
            number = entry.child("number")
            if type(number.value) is not int:
                raise number.error("must be a number")
            numbers[str(project)] = number.value
        return numbers

    def messages(self, key: str, kind: Any) -> dict[str, Any]:
        """API messages by name, in their JSON form."""
        child = self.child(key)
        if child.value is None:
            return {}
        if not isinstance(child.value, dict):
            raise child.error("must be a mapping of resource names")
        return {str(name): child.child(name).message(kind) for name in child.value}

    def message(self, kind: Any) -> Any:
        """An API message in its JSON form, camelCase."""
        message = kind()
        plain = getattr(message, "_pb", message)
        try:
            json_format.ParseDict(_json(self.value), plain)
        except (json_format.ParseError, TypeError, AttributeError) as error:
            raise self.error(" ".join(str(error).split())) from error
        return message


def _json(value: Any) -> Any:
    """YAML reads an unquoted time as a time; JSON has it as a text."""
    match value:
        case dict():
            return {str(key): _json(item) for key, item in value.items()}
        case list():
            return [_json(item) for item in value]
        case datetime() if value.tzinfo is None:
            return f"{value.isoformat()}Z"
        case date():
            return value.isoformat()
    return value
