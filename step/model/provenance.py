"""Records of builds: what each form of record says, and whether the build is a trusted one.

What a build was asked to do is not what it did: of each form, only what the builder itself states
or resolved is read, never substitutions or labels. A value that is not there satisfies nothing.
https://github.com/googleapis/googleapis/blob/master/grafeas/v1/build.proto
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from step.errors import BadInput
from step.model.build import (
    Build,
    BuildName,
    canonical_repository,
    cloud_repository,
    entries,
    field,
)
from step.model.image import Digest
from step.model.names import ProjectName
from step.model.quoting import quoted

# https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md and its v0.1
_STATEMENTS = frozenset({"https://in-toto.io/Statement/v0.1", "https://in-toto.io/Statement/v1"})
# https://slsa.dev/spec/v0.1/provenance, https://slsa.dev/provenance/v0.2 and …/v1
_SLSA_V0_1 = "https://slsa.dev/provenance/v0.1"
_SLSA_V0_2 = "https://slsa.dev/provenance/v0.2"
_SLSA_V1 = "https://slsa.dev/provenance/v1"
# The parameters of a v1 predicate mean what its build type says:
# https://cloud.google.com/build/gcb-buildtypes/google-worker/v1
_CLOUD_BUILD = "https://cloud.google.com/build/gcb-buildtypes/google-worker/v1"
_INVOCATION = "https://cloudbuild.googleapis.com/v1/projects/"
_BUILD_ANY = "type.googleapis.com/google.devtools.cloudbuild.v1.Build"
# Provenance has had 0 for the project, and no location: `projects/0/locations//triggers/ID`.
_TRIGGER_URI = re.compile(r"projects/([^/]*)/locations/[^/]*/triggers/([^/]+)")
_NO_PROJECT = "0"

# A base image or a builder, which is no source: oci://…, docker://…, a package URL
# (https://github.com/package-url/purl-spec), or a reference by digest without a scheme.
_IMAGE = re.compile(
    r"(?:(?:oci|docker|docker-pullable)://|pkg:(?:docker|oci)/).+"
    r"|(?!.*://)[^@\s]+@sha256:[0-9a-f]{64}"
)

_VALUE = re.compile(r"[!-~]{1,300}")
_TRIGGER = re.compile(
    r"(?:projects/[^/\s]+/locations/[^/\s]+/triggers/)?[A-Za-z0-9][A-Za-z0-9-]{0,63}"
)
_REPOSITORY = re.compile(
    r"https://[a-z0-9.-]+(?::[0-9]{1,5})?/[A-Za-z0-9._~%+/-]+"
    r"|ssh://(?:[A-Za-z0-9._-]+@)?[A-Za-z0-9.-]+(?::[0-9]{1,5})?/[A-Za-z0-9._~%+/-]+"
    r"|projects/[^/\s]+/locations/[^/\s]+/connections/[^/\s]+/repositories/[^/\s]+"
)
_USER = re.compile(r"(?<=://)[^/]*@")


@dataclass(frozen=True, slots=True)
class BuildRecord:
    """What one record says of a build; what it does not say is empty.

    `digests` are those of the artifacts it names. `projects` and `triggers` are the names of one
    project and one trigger: by id, by number, in full. `sources` is everything that was fetched to
    be built, repositories as `canonical_repository` spells them.
    """

    digests: tuple[Digest, ...] = ()
    builder: str = ""
    projects: tuple[str, ...] = ()
    triggers: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()

    @classmethod
    def of_build(cls, build: Build) -> BuildRecord:
        """Cloud Build's own record; it names no builder.

        https://github.com/googleapis/googleapis/blob/master/google/devtools/cloudbuild/v1/cloudbuild.proto
        """
        return cls(
            digests=tuple(_readable(Digest.parse, (image.digest for image in build.pushed))),
            projects=(build.name.project,),
            triggers=_stated(build.trigger_id),
            sources=build.resolved,
        )

    @classmethod
    def from_provenance(cls, document: Mapping[str, Any]) -> BuildRecord:
        """Read a `BuildProvenance` of Grafeas; raises BadInput for another type of a field used.

        https://github.com/googleapis/googleapis/blob/master/grafeas/v1/provenance.proto
        """
        artifacts = entries(document, "builtArtifacts", dict)
        named = (each for each in artifacts if any(entries(each, "names", str)))
        source = field(document, "sourceProvenance", dict)
        contexts = [field(source, "context", dict), *entries(source, "additionalContexts", dict)]
        return cls(
            digests=tuple(
                _readable(Digest.parse, (field(each, "checksum", str) for each in named))
            ),
            builder=field(document, "builderVersion", str),
            projects=_stated(field(document, "projectId", str)),
            triggers=_stated(field(document, "triggerId", str)),
            sources=_stated(
                *map(_context_of, contexts), field(source, "artifactStorageSourceUri", str)
            ),
        )

    @classmethod
    def from_statement(cls, document: Mapping[str, Any]) -> BuildRecord:
        """Read an `InTotoStatement` with SLSA provenance v0.1 or v0.2.

        Raises BadInput for any other predicate, and for another type of a field that is used.
        https://github.com/googleapis/googleapis/blob/master/grafeas/v1/intoto_statement.proto
        """
        digests, predicate_type = _subjects(document), field(document, "predicateType", str)
        if predicate_type == _SLSA_V0_1:
            predicate = field(document, "slsaProvenance", dict)
            build = _cloud_build(field(predicate, "recipe", dict))
            resolved = _fetched(predicate, "materials")
            return cls(
                digests,
                field(field(predicate, "builder", dict), "id", str),
                (build.name.project,) if build else (),
                _stated(build.trigger_id) if build else (),
                _distinct(build.resolved, resolved) if build else resolved,
            )
        if predicate_type == _SLSA_V0_2:
            predicate = field(document, "slsaProvenanceZeroTwo", dict)
            config = field(field(predicate, "invocation", dict), "configSource", dict)
            resolved = _fetched(predicate, "materials")
            return cls(
                digests,
                field(field(predicate, "builder", dict), "id", str),
                sources=resolved and _distinct(resolved, _addresses((config, "uri"))),
            )
        raise BadInput(f"a predicate of type {shown(predicate_type)} is not read")

    @classmethod
    def from_slsa_v1(cls, document: Mapping[str, Any]) -> BuildRecord:
        """Read an `InTotoSlsaProvenanceV1`.

        Project, trigger and source are read of Cloud Build's own build type only, as they mean
        something else in another. Raises BadInput for any other predicate, and for another type of
        a field that is used.
        https://github.com/googleapis/googleapis/blob/master/grafeas/v1/intoto_statement.proto
        """
        digests, predicate_type = _subjects(document), field(document, "predicateType", str)
        if predicate_type != _SLSA_V1:
            raise BadInput(f"a predicate of type {shown(predicate_type)} is not read")
        predicate = field(document, "predicate", dict)
        definition = field(predicate, "buildDefinition", dict)
        run = field(predicate, "runDetails", dict)
        builder = field(field(run, "builder", dict), "id", str)
        if field(definition, "buildType", str) != _CLOUD_BUILD:
            return cls(digests, builder)
        invocation = field(field(run, "metadata", dict), "invocationId", str)
        trigger = field(field(definition, "internalParameters", dict), "triggerUri", str)
        match = _TRIGGER_URI.fullmatch(trigger)
        number, trigger_id = match.groups() if match else ("", "")
        # Where the trigger says that configuration and source are; often one repository.
        external = field(definition, "externalParameters", dict)
        declaring = (field(external, key, dict) for key in ("buildConfigSource", "sourceToBuild"))
        declared = _addresses(*((each, "repository") for each in declaring))
        resolved = _fetched(definition, "resolvedDependencies")
        return cls(
            digests,
            builder,
            _stated(_project_of(invocation), number if number != _NO_PROJECT else ""),
            _stated(trigger_id, trigger) if match else (),
            resolved and _distinct(resolved, declared),
        )

    def __str__(self) -> str:
        said = {
            "builder": _stated(self.builder),
            "project": self.projects,
            "trigger": self.triggers[:1],
            "source": self.sources,
        }
        return ", ".join(f"{what} {_listed(values)}" for what, values in said.items() if values)


@dataclass(frozen=True, slots=True)
class TrustedBuild:
    """Which builds are trusted: every list that is not empty has to hold, all in one record.

    Builders are ids; projects are ids or numbers, as the record has them; triggers are ids or full
    names; sources are addresses of repositories, and all that a build fetched has to be among them.
    Raises BadInput when nothing is said, or for an entry that no record can have.
    """

    builders: tuple[str, ...] = ()
    projects: tuple[str, ...] = ()
    triggers: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not (self.builders or self.projects or self.triggers or self.sources):
            raise BadInput(
                "--require-build says nothing that is trusted",
                "Give --trusted-builder, --trusted-project, --trusted-trigger or --trusted-source.",
            )
        for builder in self.builders:
            if not _VALUE.fullmatch(builder):
                raise BadInput(
                    f"--trusted-builder: {shown(builder)} is not the id of a builder",
                    "Cloud Build's is https://cloudbuild.googleapis.com/GoogleHostedWorker.",
                )
        for project in self.projects:
            ProjectName(project)
        for trigger in self.triggers:
            if not _TRIGGER.fullmatch(trigger):
                raise BadInput(
                    f"--trusted-trigger: {shown(trigger)} is not the id of a trigger",
                    "`gcloud builds triggers describe NAME --format='value(id)'` prints it.",
                )
        for source in self.sources:
            _wanted(source)

    def unmet(self, record: BuildRecord, digest: Digest) -> str | None:
        """Why the record does not show a trusted build of that image, in one line; None if it does.

        An artifact counts by its whole digest and nothing else.
        """
        if digest not in record.digests:
            return "it names no artifact with the image's digest"
        sources = {_wanted(source) for source in self.sources}
        lacking = (
            _lacking("builder", self.builders, _stated(record.builder)),
            _lacking("project", self.projects, record.projects),
            _lacking("trigger", self.triggers, record.triggers),
            _lacking("source", sources, record.sources, every=True),
        )
        return "; ".join(filter(None, lacking)) or None


def shown(text: str) -> str:
    """What others wrote, for a message: no user in an address."""
    return quoted(_USER.sub("", text))


def _lacking(
    what: str, trusted: Collection[str], said: Sequence[str], every: bool = False
) -> str | None:
    if not trusted:
        return None
    if not said:
        return f"it does not say its {what}"
    if (all if every else any)(value in trusted for value in said):
        return None
    return f"its {what} {_listed(said)} is not trusted"


def _listed(values: Sequence[str]) -> str:
    more = f" and {len(values) - 3} more" if len(values) > 3 else ""
    return ", ".join(map(shown, values[:3])) + more


def _wanted(source: str) -> str:
    """A source that was named as trusted; a ref beside it would promise what is not checked."""
    spelled = canonical_repository(source)
    https = "://" in source and not source.startswith("ssh://")
    if not _REPOSITORY.fullmatch(spelled) or (https and "@" in source):
        raise BadInput(
            "--trusted-source is not the address of a repository alone",
            "Write https://HOST/OWNER/REPOSITORY, without a user, a token or a branch, or "
            "projects/P/locations/L/connections/C/repositories/R.",
        )
    return spelled


def _subjects(document: Mapping[str, Any]) -> tuple[Digest, ...]:
    """The digests of the subjects that have a name; a digest of any other form is none."""
    if (form := field(document, "type", str)) not in _STATEMENTS:
        raise BadInput(f"a statement of type {shown(form)} is not read")
    subjects = entries(document, "subject", dict)
    named = (field(each, "digest", dict) for each in subjects if field(each, "name", str))
    return tuple(_readable(Digest, (field(each, "sha256", str) for each in named)))


def _readable(read: Callable[[str], Digest], texts: Iterable[str]) -> Iterator[Digest]:
    for text in texts:
        with suppress(BadInput):
            yield read(text)


def _cloud_build(recipe: Mapping[str, Any]) -> Build | None:
    """The build that Cloud Build puts into provenance v0.1; None where another builder wrote it."""
    arguments = field(recipe, "arguments", dict)
    return Build.from_json(arguments) if arguments.get("@type") == _BUILD_ANY else None


def _project_of(invocation: str) -> str:
    """The project of a build that is named as the API's address of it."""
    if invocation.startswith(_INVOCATION):
        with suppress(BadInput):
            return BuildName.parse(f"projects/{invocation.removeprefix(_INVOCATION)}").project
    return ""


def _fetched(of: Mapping[str, Any], key: str) -> tuple[str, ...]:
    """Materials of v0.1 and v0.2, resolved dependencies of v1: all of them that are no image."""
    uris = [field(each, "uri", str) for each in entries(of, key, dict)]
    if not all(uris):
        raise BadInput("it was built from something without an address")
    return _distinct(canonical_repository(uri) for uri in uris if not _IMAGE.fullmatch(uri))


def _addresses(*fields: tuple[Mapping[str, Any], str]) -> tuple[str, ...]:
    return _stated(*(canonical_repository(field(of, key, str)) for of, key in fields))


def _context_of(context: Mapping[str, Any]) -> str:
    """https://github.com/googleapis/googleapis/blob/master/grafeas/v1/provenance.proto."""
    gerrit = field(context, "gerrit", dict)
    cloud = field(field(context, "cloudRepo", dict), "repoId", dict)
    by_name = field(cloud, "projectRepoId", dict)
    if gerrit:
        return f"{field(gerrit, 'hostUri', str)}/{field(gerrit, 'gerritProject', str)}"
    if by_name:
        project, name = (field(by_name, key, str) for key in ("projectId", "repoName"))
        return cloud_repository(project, name)
    return field(cloud, "uid", str) or canonical_repository(
        field(field(context, "git", dict), "url", str)
    )


def _stated(*values: str | None) -> tuple[str, ...]:
    return tuple(value for value in values if value)


def _distinct(*values: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(value for part in values for value in part))
