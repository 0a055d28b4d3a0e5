"""Records of builds: what is read of each form."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from step.errors import BadInput
from step.model.build import Build
from step.model.image import Digest
from step.model.provenance import BuildRecord, TrustedBuild
from tests.builds import (
    BASE,
    BUILD,
    GRAFEAS,
    HEX,
    ID,
    MATERIAL,
    OTHER,
    SOURCE,
    SUBJECT,
    TRIGGER,
    TRIGGER_URI,
    V0_1,
    V0_2,
    V1,
    WORKER,
    changed,
)

DIGEST = Digest(HEX)
TRUSTED = TrustedBuild((WORKER,), ("my-project",), (TRIGGER,), (SOURCE,))


def of_build(document: Mapping[str, Any]) -> BuildRecord:
    return BuildRecord.of_build(Build.from_json(document))


Reader = Callable[[Mapping[str, Any]], BuildRecord]
FORMS: dict[str, tuple[Reader, dict[str, Any]]] = {
    "grafeas": (BuildRecord.from_provenance, GRAFEAS),
    "v0.1": (BuildRecord.from_statement, V0_1),
    "v0.2": (BuildRecord.from_statement, V0_2),
    "v1": (BuildRecord.from_slsa_v1, V1),
    "build": (of_build, BUILD),
}


@pytest.mark.parametrize(
    ("form", "record"),
    [
        ("grafeas", BuildRecord((DIGEST,), "builder-7", ("my-project",), (TRIGGER,), (SOURCE,))),
        (
            "v0.1",
            BuildRecord((DIGEST,), f"{WORKER}@v0.3", ("123456789012",), (TRIGGER,), (SOURCE,)),
        ),
        ("v0.2", BuildRecord((DIGEST,), "https://tekton.dev/chains/v2", sources=(SOURCE,))),
        (
            "v1",
            BuildRecord(
                (DIGEST, DIGEST),
                WORKER,
                ("my-project", "123456789012"),
                (TRIGGER, TRIGGER_URI),
                (SOURCE,),
            ),
        ),
        ("build", BuildRecord((DIGEST,), "", ("my-project",), (TRIGGER,), (SOURCE,))),
    ],
)
def test_each_form_is_read_and_nothing_that_a_submitter_sets(
    form: str, record: BuildRecord
) -> None:
    read, document = FORMS[form]
    assert read(document) == record
    assert "forged" not in str(record)


V1_DEFINITION = "predicate/buildDefinition"
V1_DEPENDENCIES = f"{V1_DEFINITION}/resolvedDependencies"


@pytest.mark.parametrize(
    ("form", "path", "value", "lost"),
    [
        ("grafeas", "projectId", None, {"projects": ()}),
        ("grafeas", "triggerId", None, {"triggers": ()}),
        ("grafeas", "builderVersion", None, {"builder": ""}),
        ("grafeas", "sourceProvenance", None, {"sources": ()}),
        (
            "grafeas",
            "sourceProvenance/additionalContexts",
            [{"git": {"url": "https://github.com/you/lib"}}],
            {"sources": (SOURCE, "https://github.com/you/lib")},
        ),
        (
            "grafeas",
            "sourceProvenance/artifactStorageSourceUri",
            "gs://b/o#1",
            {"sources": (SOURCE, "gs://b/o#1")},
        ),
        (
            "grafeas",
            "sourceProvenance/context",
            {"cloudRepo": {"repoId": {"projectRepoId": {"projectId": "p", "repoName": "r"}}}},
            {"sources": ("https://source.developers.google.com/p/p/r/r",)},
        ),
        (
            "grafeas",
            "sourceProvenance/context",
            {"cloudRepo": {"repoId": {"uid": "7"}}},
            {"sources": ("7",)},
        ),
        (
            "grafeas",
            "sourceProvenance/context",
            {"gerrit": {"hostUri": "https://g.example", "gerritProject": "a/b"}},
            {"sources": ("https://g.example/a/b",)},
        ),
        # What labels say is user-defined metadata.
        ("grafeas", "sourceProvenance/context", {"labels": {"url": SOURCE}}, {"sources": ()}),
        ("v0.1", "slsaProvenance/builder", None, {"builder": ""}),
        ("v0.1", "slsaProvenance/materials", None, {"sources": ()}),
        ("v0.1", "slsaProvenance/materials", [BASE], {"sources": ()}),
        (
            "v0.1",
            "slsaProvenance/materials",
            [MATERIAL, {"uri": "gs://b/o#1"}],
            {"sources": (SOURCE, "gs://b/o#1")},
        ),
        (
            "v0.1",
            "slsaProvenance/recipe/arguments/sourceProvenance",
            {"resolvedGitSource": {"url": "https://github.com/you/app"}},
            {"sources": ("https://github.com/you/app", SOURCE)},
        ),
        (
            "v0.1",
            "slsaProvenance/recipe/arguments/@type",
            "type.googleapis.com/other",
            {"projects": (), "triggers": ()},
        ),
        ("v0.1", "slsaProvenance/recipe/arguments/buildTriggerId", None, {"triggers": ()}),
        ("v0.2", "slsaProvenanceZeroTwo/materials", None, {"sources": ()}),
        (
            "v0.2",
            "slsaProvenanceZeroTwo/invocation/configSource/uri",
            "git+https://github.com/you/app",
            {"sources": (SOURCE, "https://github.com/you/app")},
        ),
        # What a trigger was told, and the service did not fetch, is not a source.
        ("v1", V1_DEPENDENCIES, None, {"sources": ()}),
        ("v1", V1_DEPENDENCIES, [BASE], {"sources": ()}),
        (
            "v1",
            f"{V1_DEFINITION}/externalParameters/buildConfigSource/repository",
            "git+https://github.com/you/config",
            {"sources": (SOURCE, "https://github.com/you/config")},
        ),
        (
            "v1",
            f"{V1_DEFINITION}/externalParameters/sourceToBuild",
            {"repository": "git+https://github.com/you/app"},
            {"sources": (SOURCE, "https://github.com/you/app")},
        ),
        (
            "v1",
            f"{V1_DEFINITION}/internalParameters/triggerUri",
            f"projects/0/locations//triggers/{TRIGGER}",
            {
                "projects": ("my-project",),
                "triggers": (TRIGGER, f"projects/0/locations//triggers/{TRIGGER}"),
            },
        ),
        (
            "v1",
            f"{V1_DEFINITION}/internalParameters/triggerUri",
            TRIGGER,
            {"projects": ("my-project",), "triggers": ()},
        ),
        (
            "v1",
            "predicate/runDetails/metadata/invocationId",
            f"https://evil.example/v1/projects/my-project/locations/us-west1/builds/{ID}",
            {"projects": ("123456789012",)},
        ),
        (
            "v1",
            "predicate/runDetails/metadata/invocationId",
            f"my-project/locations/us-west1/builds/{ID}",
            {"projects": ("123456789012",)},
        ),
        (
            "v1",
            "predicate/runDetails/metadata/invocationId",
            "https://cloudbuild.googleapis.com/v1/projects/my-project/locations/us-west1",
            {"projects": ("123456789012",)},
        ),
        # The parameters of another build type mean something else.
        (
            "v1",
            f"{V1_DEFINITION}/buildType",
            "https://tekton.dev/chains/v2/slsa",
            {"projects": (), "triggers": (), "sources": ()},
        ),
        ("build", "buildTriggerId", None, {"triggers": ()}),
        ("build", "sourceProvenance", None, {"sources": ()}),
    ],
)
def test_a_value_that_is_not_there_is_taken_from_nowhere_else(
    form: str, path: str, value: Any, lost: dict[str, Any]
) -> None:
    read, document = FORMS[form]
    assert read(changed(document, path, value)) == replace(read(document), **lost)


CHECKSUMS = {
    "grafeas": ("builtArtifacts/0/checksum", "sha256:"),
    "v0.1": ("subject/0/digest/sha256", ""),
    "v0.2": ("subject/0/digest/sha256", ""),
    "build": ("results/images/0/digest", "sha256:"),
}


@pytest.mark.parametrize("form", list(CHECKSUMS))
@pytest.mark.parametrize(
    "checksum",
    ["", HEX[:12], HEX[:63], f"{HEX}0", HEX.upper(), f" {HEX}", f"{HEX}\n", "*", "SHA256:" + HEX],
)
def test_a_checksum_that_is_not_whole_matches_nothing(form: str, checksum: str) -> None:
    """An empty one matches no image, where a comparison of suffixes has it match every one."""
    read, document = FORMS[form]
    path, prefix = CHECKSUMS[form]
    for text in (checksum, prefix + checksum):
        record = read(changed(document, path, text))
        assert record.digests == ()
        unmet = TrustedBuild(sources=(SOURCE,)).unmet(record, DIGEST)
        assert unmet == "it names no artifact with the image's digest"


@pytest.mark.parametrize(
    ("form", "path", "value"),
    [
        ("grafeas", "builtArtifacts/0/checksum", HEX),
        ("grafeas", "builtArtifacts/0/checksum", f"sha256:{OTHER}"),
        ("grafeas", "builtArtifacts/0/names", []),
        ("grafeas", "builtArtifacts/0/names", [""]),
        ("grafeas", "builtArtifacts", []),
        ("v0.1", "subject/0/digest/sha256", f"sha256:{HEX}"),
        ("v0.1", "subject/0/digest", {"sha512": HEX}),
        ("v0.1", "subject/0/digest", {"sha256": OTHER}),
        ("v0.1", "subject/0/name", ""),
        ("v0.1", "subject", []),
        ("v1", "subject", [{"digest": {"sha256": HEX}}]),
        ("build", "results", {}),
        ("build", "results/images/0/digest", HEX),
    ],
)
def test_an_artifact_that_is_not_this_image_does_not_count(
    form: str, path: str, value: Any
) -> None:
    read, document = FORMS[form]
    record = read(changed(document, path, value))
    assert DIGEST not in record.digests
    assert TrustedBuild(sources=(SOURCE,)).unmet(record, DIGEST)


def test_one_artifact_among_several_is_enough() -> None:
    subjects = [{"name": "", "digest": {}}, {"name": "a", "digest": {"sha256": ""}}, SUBJECT]
    assert BuildRecord.from_slsa_v1(V1 | {"subject": subjects}).digests == (DIGEST,)


@pytest.mark.parametrize(
    ("form", "path", "value", "message"),
    [
        ("v0.1", "predicateType", "https://slsa.dev/provenance/v1", "is not read"),
        ("v0.1", "predicateType", "https://slsa.dev/provenance/v0.3", "is not read"),
        ("v0.1", "predicateType", None, "a predicate of type '' is not read"),
        ("v0.1", "type", "https://in-toto.io/Statement/v2", "a statement of type .* is not read"),
        ("v0.1", "type", None, "a statement of type '' is not read"),
        ("v1", "predicateType", "https://slsa.dev/provenance/v0.1", "is not read"),
        ("v1", "predicateType", "https://slsa.dev/verification_summary/v1", "is not read"),
        ("v1", "type", "https://in-toto.io/Statement/v2", "a statement of type .* is not read"),
        ("v1", "subject", SUBJECT, "subject is not a list"),
        ("v1", "predicate", "x", "predicate is not an object"),
        ("v1", f"{V1_DEPENDENCIES}/0/uri", None, "something without an address"),
        ("v0.1", "slsaProvenance/materials/0/uri", "", "something without an address"),
        ("v0.1", "slsaProvenance/recipe/arguments/status", "\n", "is not a status"),
        ("grafeas", "projectId", 7, "projectId is not text"),
    ],
)
def test_a_record_of_another_form_is_refused(
    form: str, path: str, value: Any, message: str
) -> None:
    read, document = FORMS[form]
    with pytest.raises(BadInput, match=message):
        read(changed(document, path, value))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


def paths(document: Any, prefix: str = "") -> list[str]:
    """The path of every value in a document."""
    pairs = enumerate(document) if isinstance(document, list) else document.items()
    actual = []
    for key, value in pairs:
        actual.append(f"{prefix}{key}")
        if isinstance(value, list | dict):
            actual += paths(value, f"{prefix}{key}/")
    return actual


PLACES = [(form, path) for form, (_, document) in FORMS.items() for path in paths(document)]


@given(st.sampled_from([place for place in PLACES if "@type" not in place[1]]), json_values)
def test_any_json_is_a_record_or_bad_input(place: tuple[str, str], value: Any) -> None:
    form, path = place
    read, document = FORMS[form]
    with suppress(BadInput):
        record = read(changed(document, path, value))
        assert set(record.digests) <= {DIGEST}
        unmet = TRUSTED.unmet(record, DIGEST)
        assert unmet is None or "\n" not in unmet
