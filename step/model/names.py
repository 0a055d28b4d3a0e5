"""Resource names of Google Cloud, parsed once."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar, Self

from step.errors import BadInput
from step.model.quoting import quoted

# https://cloud.google.com/resource-manager/docs/creating-managing-projects#before_you_begin;
# a domain-scoped project has its domain and a colon before it.
_PROJECT = r"(?:[a-z0-9.-]+:)?[a-z0-9][a-z0-9-]{0,62}"
_ID = r"[A-Za-z0-9_.~%+-]{1,128}"
_KMS = re.compile(
    rf"projects/{_PROJECT}/locations/[a-z0-9-]+/keyRings/[A-Za-z0-9_-]{{1,63}}"
    r"/cryptoKeys/[A-Za-z0-9_-]{1,63}/cryptoKeyVersions/[0-9]+"
)
_KMS_PREFIX = re.compile(r"\A(?:gcpkms://|(?:https:)?//cloudkms\.googleapis\.com/v1/)")


@dataclass(frozen=True, slots=True, order=True)
class ProjectName:
    """A Google Cloud project: `projects/P`."""

    project: str

    def __post_init__(self) -> None:
        if not re.fullmatch(_PROJECT, self.project):
            raise BadInput(
                f"{self.project!r} is not a project id",
                "Give the id of a project, for example my-project.",
            )

    def __str__(self) -> str:
        return f"projects/{self.project}"


@dataclass(frozen=True, slots=True, order=True)
class _InProject:
    """`projects/P/COLLECTION/ID`."""

    project: str
    id: str
    _collection: ClassVar[str]
    _called: ClassVar[str]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a full name; raises BadInput for all else."""
        match = re.fullmatch(rf"projects/({_PROJECT})/{cls._collection}/({_ID})", text)
        if match is None:
            form = f"projects/PROJECT/{cls._collection}/{cls._collection[:-1].upper()}"
            raise BadInput(f"{text!r} is not {cls._called}", f"Write {form}.")
        return cls(*match.groups())

    def __str__(self) -> str:
        return f"projects/{self.project}/{self._collection}/{self.id}"


class NoteName(_InProject):
    """`projects/P/notes/N`: the note that an attestor's attestations hang on."""

    __slots__ = ()
    _collection, _called = "notes", "a note"


class AttestorName(_InProject):
    """`projects/P/attestors/A`."""

    __slots__ = ()
    _collection, _called = "attestors", "an attestor"

    @classmethod
    def parse(cls, text: str, project: str | None = None) -> Self:
        """Read a full name, or an id alone beside `project`; raises BadInput for all else."""
        if "/" in text:
            return super().parse(text)
        if project is None:
            raise BadInput(
                f"the attestor {text!r} has no project",
                "Write projects/PROJECT/attestors/ATTESTOR, or give --project.",
            )
        return super().parse(f"{ProjectName(project)}/attestors/{text}")


@dataclass(frozen=True, slots=True, order=True)
class KmsKeyVersion:
    """A key version in Cloud KMS; `name` is its full resource name."""

    name: str

    @classmethod
    def parse(cls, text: str) -> KmsKeyVersion:
        """Read any spelling in use: the name, `gcpkms://…`, `//cloudkms.googleapis.com/v1/…`.

        `…/versions/1` is read as `…/cryptoKeyVersions/1` after `gcpkms://`, where it is common.
        Raises BadInput for all else; a key without its version is no key to sign with.
        """
        version = cls.find(text)
        if version is None:
            hint = "Write projects/P/locations/L/keyRings/R/cryptoKeys/K/cryptoKeyVersions/N."
            if "/cryptoKeys/" in text and not re.search(r"[vV]ersions/", text):
                raise BadInput(f"{text!r} names a key without its version", hint)
            raise BadInput(f"{text!r} is not a Cloud KMS key version", hint)
        return version

    @classmethod
    def find(cls, text: str) -> KmsKeyVersion | None:
        """The key version that a public key id names, or None when it names none."""
        name = _KMS_PREFIX.sub("", text)
        if text.startswith("gcpkms://"):
            name = re.sub(r"/versions/([0-9]+)\Z", r"/cryptoKeyVersions/\1", name)
        return cls(name) if _KMS.fullmatch(name) else None

    @property
    def key_id(self) -> str:
        """The public key id that gcloud registers: `//cloudkms.googleapis.com/v1/projects/…`."""
        return f"//cloudkms.googleapis.com/v1/{self.name}"

    @property
    def key(self) -> str:
        """The name of the key that this is a version of."""
        return self.name.rpartition("/cryptoKeyVersions/")[0]

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class StorageName:
    """`gs://BUCKET/PATH`: an object in Cloud Storage, or what the names of several begin with."""

    bucket: str
    path: str

    @classmethod
    def parse(cls, text: str, option: str) -> StorageName:
        """Read `gs://BUCKET/PATH`; raises BadInput naming the option.

        https://cloud.google.com/storage/docs/buckets#naming
        """
        match = re.fullmatch(r"gs://([a-z0-9][a-z0-9._-]{1,220}[a-z0-9])/([^\r\n]{1,900})", text)
        if match is None or not match[2].strip("/"):
            raise BadInput(
                f"{option}: {quoted(text)} is no name in Cloud Storage", "Write gs://BUCKET/PATH."
            )
        return cls(match[1], match[2].rstrip("/"))

    def child(self, name: str) -> StorageName:
        """What is below it, as in a folder."""
        return StorageName(self.bucket, f"{self.path}/{name}")

    def __str__(self) -> str:
        return f"gs://{self.bucket}/{self.path}"
