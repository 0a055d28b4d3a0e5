"""`attest --require-build`: only what a trusted build made is signed."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import pytest
from google.api_core.exceptions import AlreadyExists
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.json_format import ParseDict
from grafeas import grafeas_v1 as g

from step.emulator import faults
from step.errors import BadInput
from step.model.image import ImageRef
from step.model.names import ProjectName
from step.model.provenance import TrustedBuild
from step.preconditions.build import BuildCheck
from tests.builds import (
    GRAFEAS,
    HEX,
    OTHER,
    SOURCE,
    SUBJECT,
    TRIGGER,
    V0_1,
    V0_2,
    V1,
    WORKER,
    changed,
)
from tests.flows.notes import connection
from tests.world import DIGEST, IMAGE, NOTE, PROJECT, Result, World, assert_clear

MakeWorld = Callable[..., World]
FORMS = {"provenance": GRAFEAS, "intotoStatement": V0_1, "inTotoSlsaProvenanceV1": V1}
ALL = (
    *("--trusted-builder", WORKER, "--trusted-project", PROJECT),
    *("--trusted-trigger", TRIGGER, "--trusted-source", SOURCE),
)
BUILDERS_NOTE = "projects/verified-builder/notes/intoto_slsa_v1_6a1c0f52"
BY_SOURCE = ("--trusted-source", SOURCE)
V1_DEFINITION = "predicate/buildDefinition"


def put(
    world: World,
    form: str = "inTotoSlsaProvenanceV1",
    document: Mapping[str, Any] = V1,
    count: int = 1,
    **fields: Any,
) -> str:
    """Store a record in that form, in as many occurrences; returns the name of the last."""
    plain = g.BuildOccurrence.pb(g.BuildOccurrence())
    ParseDict({form: dict(document)}, plain)
    return store(world, g.BuildOccurrence.wrap(plain), count, **fields)


def store(
    world: World,
    build: g.BuildOccurrence,
    count: int = 1,
    uri: str = f"https://{IMAGE}",
    project: str = PROJECT,
    note: str = BUILDERS_NOTE,
) -> str:
    """Store occurrences of kind BUILD, as anybody may who can write to the project and the note."""
    client = world.client(g.GrafeasClient)
    parent, _, note_id = note.partition("/notes/")
    with suppress(AlreadyExists):
        client.create_note(parent=parent, note_id=note_id, note=g.Note(build=g.BuildNote()))
    made = g.Occurrence(resource_uri=uri, note_name=note, build=build)
    request = g.BatchCreateOccurrencesRequest(
        parent=f"projects/{project}", occurrences=[made] * count
    )
    answer = client.batch_create_occurrences(request=request)
    return str(answer.occurrences[-1].name)


def attest(world: World, *arguments: str, image: str = IMAGE) -> Result:
    result = world.attest("--require-build", *arguments, image=image)
    assert (world.count("AsymmetricSign") == 0) is (result.code != 0)
    return result


def entries(result: Result) -> str:
    """What the check says that it rests on."""
    assert result.code == 0, result.err
    [check] = json.loads(result.out)["checks"]
    assert (check["check"], check["image"]) == ("build", IMAGE)
    return str(check["found"])


def refusal(result: Result, says: str = "", fix: str = "value for value") -> str:
    assert_clear(result, 3, says, fix)
    return str(result.error["message"])


@pytest.mark.parametrize("form", list(FORMS))
def test_a_record_of_each_form_is_enough(kms_world: World, form: str) -> None:
    name = put(kms_world, form, FORMS[form])
    accepted = entries(attest(kms_world, *BY_SOURCE, "--trusted-trigger", TRIGGER))
    assert accepted.startswith(f"{name}: builder ")
    assert accepted.endswith(f"trigger '{TRIGGER}', source '{SOURCE}'")


def test_another_builders_statement_is_read(kms_world: World) -> None:
    name = put(kms_world, "intotoStatement", V0_2)
    accepted = entries(attest(kms_world, "--trusted-builder", "https://tekton.dev/chains/v2"))
    assert accepted == f"{name}: builder 'https://tekton.dev/chains/v2', source '{SOURCE}'"


def test_every_condition_may_hold_in_one_record(kms_world: World) -> None:
    name = put(kms_world)
    assert entries(attest(kms_world, *ALL)) == (
        f"{name}: builder '{WORKER}', project 'my-project', '123456789012', "
        f"trigger '{TRIGGER}', source '{SOURCE}'"
    )
    assert kms_world.count("ListOccurrences") == 1
    assert kms_world.count("GetBuild") == 0


def test_no_record_is_a_refusal(kms_world: World) -> None:
    result = attest(kms_world, *ALL)
    refusal(result, f"projects/{PROJECT} has no record of a build of {IMAGE}", "--build")
    assert "requestedVerifyOption: VERIFIED" in result.error["hint"]
    assert not kms_world.wrote


@pytest.mark.parametrize(
    ("trusted", "message"),
    [
        (("--trusted-builder", f"{WORKER}@v0.3"), f"its builder '{WORKER}' is not trusted"),
        (("--trusted-project", "other"), "its project 'my-project', '123456789012' is not trusted"),
        (("--trusted-trigger", "main"), f"its trigger '{TRIGGER}'"),
        (("--trusted-source", f"{SOURCE}2"), f"its source '{SOURCE}' is not trusted"),
    ],
)
def test_a_wrong_value_is_a_refusal(
    kms_world: World, trusted: tuple[str, str], message: str
) -> None:
    name = put(kms_world)
    matching = [each for each in zip(ALL[::2], ALL[1::2], strict=True) if each[0] != trusted[0]]
    rest = [text for pair in matching for text in pair]
    told = refusal(attest(kms_world, *trusted, *rest), message)
    assert told.startswith(f"no record of a trusted build of {IMAGE}: (1) {name}: its ")


@pytest.mark.parametrize(
    ("path", "what"),
    [
        ("predicate/runDetails/builder/id", "builder"),
        (f"{V1_DEFINITION}/internalParameters/triggerUri", "trigger"),
        (f"{V1_DEFINITION}/resolvedDependencies", "source"),
        (f"{V1_DEFINITION}/buildType", "project"),
    ],
)
def test_a_missing_value_is_a_refusal(kms_world: World, path: str, what: str) -> None:
    put(kms_world, document=changed(V1, path, None))
    refusal(attest(kms_world, *ALL), f"it does not say its {what}")


@pytest.mark.parametrize("checksum", ["", "sha256:", f"sha256:{HEX[:12]}", HEX.upper(), HEX])
def test_a_checksum_that_is_not_whole_is_of_no_image(kms_world: World, checksum: str) -> None:
    put(kms_world, "provenance", changed(GRAFEAS, "builtArtifacts/0/checksum", checksum))
    refusal(attest(kms_world, *BY_SOURCE), "it names no artifact with the image's digest")


@pytest.mark.parametrize(
    "subject",
    [
        SUBJECT | {"digest": {"sha256": OTHER}},
        SUBJECT | {"digest": {"sha256": ""}},
        SUBJECT | {"name": ""},
    ],
)
def test_a_record_of_another_image_under_this_ones_uri_is_rejected(
    kms_world: World, subject: dict[str, Any]
) -> None:
    put(kms_world, document=V1 | {"subject": [subject]})
    refusal(attest(kms_world, *ALL), "it names no artifact with the image's digest")


def test_conditions_are_not_met_by_two_records_together(kms_world: World) -> None:
    repository = f"{V1_DEFINITION}/resolvedDependencies/0/uri"
    first = put(kms_world, document=changed(V1, repository, "git+https://github.com/you/app"))
    second = put(kms_world, document=changed(V1, "predicate/runDetails/builder/id", "mine"))
    told = refusal(attest(kms_world, *BY_SOURCE, "--trusted-builder", WORKER))
    assert f"(1) {first}: its source 'https://github.com/you/app'" in told
    assert f"; (2) {second}: its builder 'mine' is not trusted" in told


def test_the_forms_of_one_occurrence_are_records_of_their_own(kms_world: World) -> None:
    plain = g.BuildOccurrence.pb(g.BuildOccurrence())
    ParseDict({"provenance": GRAFEAS, "inTotoSlsaProvenanceV1": V1}, plain)
    store(kms_world, g.BuildOccurrence.wrap(plain))
    both = ("--trusted-builder", "builder-7", "--trusted-project", "123456789012")
    told = refusal(attest(kms_world, *both))
    assert "(1) " in told
    assert "; (2) " in told


def test_rejected_records_do_not_spoil_a_trusted_one(kms_world: World) -> None:
    put(kms_world, document=V1 | {"predicateType": "https://example.com/other"})
    name = put(kms_world)
    put(kms_world, document=changed(V1, "predicate/runDetails/builder/id", "mine"))
    accepted = entries(attest(kms_world, *ALL))
    assert accepted.startswith(f"{name}: builder")
    assert accepted.endswith(" (2 other rejected)")


UNKNOWN = AnyMessage(type_url="type.googleapis.com/unknown.Type", value=b"\xff")


def of_any(type_url: str, value: bytes) -> g.BuildOccurrence:
    recipe = {"arguments": AnyMessage(type_url=type_url, value=value), "environment": UNKNOWN}
    statement = g.InTotoStatement(
        type_=V0_1["type"],
        predicate_type=V0_1["predicateType"],
        subject=[SUBJECT],
        slsa_provenance={"recipe": recipe, "builder": {"id": WORKER}},
    )
    return g.BuildOccurrence(intoto_statement=statement)


def late() -> g.BuildOccurrence:
    """Provenance of a year that JSON has no form for."""
    build = g.BuildOccurrence(provenance={"id": "late"})
    g.BuildOccurrence.pb(build).provenance.create_time.seconds = 1 << 60
    return build


def not_a_number() -> g.BuildOccurrence:
    build = g.BuildOccurrence(in_toto_slsa_provenance_v1={"type_": V1["type"]})
    predicate = g.BuildOccurrence.pb(build).in_toto_slsa_provenance_v1.predicate
    predicate.build_definition.external_parameters["a"] = float("nan")
    return build


CLOUD_BUILD = "type.googleapis.com/google.devtools.cloudbuild.v1.Build"
UNREADABLE = {
    "nothing": (g.BuildOccurrence(), "it holds no provenance that is read"),
    "deprecated": (
        g.BuildOccurrence(intoto_provenance={"builder_config": {"id": WORKER}}),
        "it holds no provenance that is read",
    ),
    "predicate": (
        g.BuildOccurrence(
            intoto_statement={
                "type_": V0_1["type"],
                "predicate_type": "https://in-toto.io/Provenance/v1",
                "subject": [SUBJECT],
                "provenance": {
                    "builder_config": {"id": WORKER},
                    "recipe": {"arguments": [UNKNOWN]},
                },
            }
        ),
        "a predicate of type 'https://in-toto.io/Provenance/v1' is not read",
    ),
    "corrupt build": (of_any(CLOUD_BUILD, b"\xff\xff\x01"), "its intoto_statement cannot be read"),
    "nameless build": (of_any(CLOUD_BUILD, b""), "the build has no name"),
    "late": (late(), "its provenance cannot be read"),
    "not a number": (not_a_number(), "its in_toto_slsa_provenance_v1 cannot be read"),
}


@pytest.mark.parametrize("case", list(UNREADABLE))
def test_a_record_that_cannot_be_read_is_rejected_and_no_crash(kms_world: World, case: str) -> None:
    build, message = UNREADABLE[case]
    store(kms_world, build)
    refusal(attest(kms_world, "--trusted-builder", WORKER), message)
    put(kms_world)
    assert entries(attest(kms_world, "--trusted-builder", WORKER)).endswith("(1 other rejected)")


def test_a_value_of_an_unknown_type_is_passed_over(kms_world: World) -> None:
    name = store(kms_world, of_any(UNKNOWN.type_url, UNKNOWN.value))
    accepted = entries(attest(kms_world, "--trusted-builder", WORKER))
    assert accepted == f"{name}: builder '{WORKER}'"


def test_every_page_is_read(kms_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("step.cloud.image_occurrences.PAGE_SIZE", 100)
    put(kms_world, document=changed(V1, "predicate/runDetails/builder/id", "mine"), count=100)
    told = refusal(attest(kms_world, *ALL))
    assert "(5) " in told
    assert "(6) " not in told
    assert told.endswith("; and 95 more")
    assert kms_world.count("ListOccurrences") == 1
    put(kms_world)
    assert entries(attest(kms_world, *ALL)).endswith("(100 other rejected)")
    assert kms_world.count("ListOccurrences") == 3


@pytest.mark.parametrize(
    "uri", [f"https://{IMAGE.replace(HEX, OTHER)}", f"https://{IMAGE}0", f"https://{IMAGE} "]
)
def test_the_filter_of_the_service_is_not_trusted(
    kms_world: World, monkeypatch: pytest.MonkeyPatch, uri: str
) -> None:
    def move(response: Any) -> None:
        for occurrence in response.occurrences:
            occurrence.resource_uri = uri

    monkeypatch.setitem(faults._ALTERATIONS, "MOVE", (frozenset({"ListOccurrences"}), move))
    put(kms_world)
    kms_world.emulator.fail("ListOccurrences=MOVE")
    refusal(attest(kms_world, *ALL), "has no record of a build", "--build")


def test_only_occurrences_of_kind_build_count(
    kms_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def attestation(response: Any) -> None:
        for occurrence in response.occurrences:
            occurrence.kind = g.NoteKind.ATTESTATION

    monkeypatch.setitem(faults._ALTERATIONS, "KIND", (frozenset({"ListOccurrences"}), attestation))
    put(kms_world)
    kms_world.emulator.fail("ListOccurrences=KIND")
    refusal(attest(kms_world, *ALL), "has no record of a build", "--build")


def test_records_of_other_images_are_not_asked_for(kms_world: World) -> None:
    put(kms_world, uri=f"https://{IMAGE.replace(HEX, OTHER)}")
    put(kms_world, uri=f"https://gcr.io/{PROJECT}/web@{DIGEST}")
    refusal(attest(kms_world, *ALL), "has no record of a build", "--build")


def test_records_may_be_in_another_project(kms_world: World) -> None:
    name = put(kms_world, project="elsewhere")
    refusal(attest(kms_world, *ALL), "projects/my-project has no record", "--image-project")
    accepted = entries(attest(kms_world, *ALL, "--image-project", "elsewhere"))
    assert accepted.startswith(name)


def test_an_image_elsewhere_needs_the_project_of_its_records(kms_world: World) -> None:
    image = f"docker.io/me/web@{DIGEST}"
    result = attest(kms_world, *ALL, image=image)
    assert_clear(result, 2, "which project holds the records of builds", "--image-project")
    put(kms_world, uri=f"https://{image}")
    result = attest(kms_world, *ALL, "--image-project", PROJECT, image=image)
    assert result.code == 0


def test_nothing_trusted_is_bad_input_before_any_call(kms_world: World) -> None:
    result = attest(kms_world)
    assert_clear(result, 2, "says nothing that is trusted", "--trusted-source")
    assert kms_world.methods == []


@pytest.mark.parametrize(
    ("fault", "code", "fix"),
    [
        ("UNAVAILABLE", 6, ""),
        ("DEADLINE_EXCEEDED", 6, ""),
        ("PERMISSION_DENIED", 4, "roles/containeranalysis.occurrences.viewer"),
    ],
)
def test_what_could_not_be_asked_is_no_yes(
    kms_world: World, fault: str, code: int, fix: str
) -> None:
    put(kms_world)
    kms_world.emulator.fail(f"ListOccurrences={fault}")
    assert_clear(attest(kms_world, *ALL), code, "ListOccurrences", fix)


def test_to_check_only_signs_nothing(kms_world: World) -> None:
    name = put(kms_world)
    written = len(kms_world.emulator.calls.writes())
    arguments = ("--require-build", *ALL, "--check-only", "--format", "json")
    assert entries(kms_world.run("attest", IMAGE, *arguments)).startswith(name)
    assert kms_world.count("AsymmetricSign") == 0
    assert len(kms_world.emulator.calls.writes()) == written


def test_the_project_of_the_records_has_to_be_known(kms_world: World) -> None:
    trusted = TrustedBuild(sources=(SOURCE,))
    image = ImageRef.parse(f"docker.io/me/web@{DIGEST}")
    with pytest.raises(BadInput, match="it is not known which project"):
        next(BuildCheck(trusted).check(image, connection(kms_world)))
    named = BuildCheck(trusted, ProjectName(PROJECT)).check(image, connection(kms_world))
    assert next(named).doing == f"reading the records of its builds in projects/{PROJECT}"


def test_a_record_on_a_note_of_anybody_is_no_record(kms_world: World) -> None:
    """Who may write occurrences in the project, but not attach them to the builder's notes."""
    for note in (NOTE, "projects/verified-builder-2/notes/x", "projects/x/notes/verified-builder"):
        put(kms_world, note=note)
        says = refusal(attest(kms_world, *BY_SOURCE), "count on notes of projects/verified-builder")
        assert note in says
    own = ("--trusted-recorder", PROJECT)
    assert entries(attest(kms_world, *BY_SOURCE, *own)).endswith("(2 other rejected)")


def test_another_recorder_takes_the_place_of_cloud_build(kms_world: World) -> None:
    put(kms_world)
    refusal(
        attest(kms_world, *BY_SOURCE, "--trusted-recorder", "chains"), "of projects/chains only"
    )


def test_a_recorder_alone_requires_no_build(kms_world: World) -> None:
    error = kms_world.attest("--trusted-recorder", "chains").error
    assert (error["exit_code"], kms_world.methods) == (2, [])
    assert "--require-build" in error["hint"]
