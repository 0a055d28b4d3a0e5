"""Records of builds as Container Analysis stores them: occurrences of kind BUILD on an image."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from google.cloud.devtools.cloudbuild_v1 import Build
from google.protobuf.json_format import Error, MessageToDict
from google.protobuf.message import DecodeError
from grafeas import grafeas_v1

from step.cloud.connection import Connection
from step.cloud.image_occurrences import recorded
from step.errors import BadInput
from step.model.image import ImageRef
from step.model.names import ProjectName
from step.model.provenance import BuildRecord

# What an Any says that it holds, when it is a build of Cloud Build.
_BUILD = "type.googleapis.com/google.devtools.cloudbuild.v1.Build"


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """A record of a build, or why it cannot be read, and the occurrence it is in.

    `note` is the name of the note that the occurrence hangs on: whoever wrote it was allowed to
    attach to that.
    """

    occurrence: str
    note: str
    record: BuildRecord | BadInput


@dataclass(frozen=True, slots=True)
class Provenance:
    """The records of builds that a connection can reach."""

    connection: Connection

    def of(self, project: ProjectName, image: ImageRef) -> Iterator[StoredRecord]:
        """The records of an image's builds in a project, read page by page as they are used.

        An occurrence may hold several forms of record, and each is one. Needs
        roles/containeranalysis.occurrences.viewer on the project.
        """
        chosen = f'kind="BUILD" AND resourceUrl="{image.resource_uri}"'
        for occurrence in recorded(self.connection, project, image, chosen):
            plain = grafeas_v1.Occurrence.pb(occurrence)
            if plain.kind == grafeas_v1.NoteKind.BUILD:
                for record in _records(plain.build):
                    yield StoredRecord(plain.name, plain.note_name, record)


def _records(build: Any) -> Iterator[BuildRecord | BadInput]:
    forms = {
        "provenance": (MessageToDict, BuildRecord.from_provenance),
        "intoto_statement": (_statement, BuildRecord.from_statement),
        "in_toto_slsa_provenance_v1": (MessageToDict, BuildRecord.from_slsa_v1),
    }
    present = [form for form in forms if build.HasField(form)]
    if not present:
        yield BadInput("it holds no provenance that is read")
    for form in present:
        to_json, read = forms[form]
        try:
            yield read(to_json(getattr(build, form)))
        except BadInput as error:
            yield error
        # What JSON has no form for: not a number, a time after the year 9999, a build of nonsense.
        except (Error, DecodeError):
            yield BadInput(f"its {form} cannot be read")


def _statement(statement: Any) -> Mapping[str, Any]:
    """A statement as JSON; of the values of any type, only the build of Cloud Build is kept."""
    kept = type(statement)()
    kept.CopyFrom(statement)
    kept.ClearField("provenance")
    if kept.HasField("slsa_provenance"):
        for name in ("arguments", "environment"):
            kept.slsa_provenance.recipe.ClearField(name)
    document: dict[str, Any] = MessageToDict(kept)
    arguments = statement.slsa_provenance.recipe.arguments
    if arguments.type_url == _BUILD:
        built = Build.pb(Build()).FromString(arguments.value)
        recipe = document["slsaProvenance"].setdefault("recipe", {})
        recipe["arguments"] = {"@type": _BUILD} | MessageToDict(built)
    return document
