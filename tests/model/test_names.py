"""Resource names of Google Cloud: what is read, what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from step.errors import BadInput
from step.model.names import AttestorName, KmsKeyVersion, NoteName, ProjectName

VERSION = "projects/p/locations/europe-west1/keyRings/r/cryptoKeys/k/cryptoKeyVersions/12"


@pytest.mark.parametrize("project", ["my-project", "p", "example.com:my-project", "123456789012"])
def test_a_project_is_read(project: str) -> None:
    assert str(ProjectName(project)) == f"projects/{project}"
    attestor = AttestorName.parse("a", project)
    assert str(attestor) == f"projects/{project}/attestors/a"
    assert AttestorName.parse(str(attestor)) == attestor
    note = NoteName.parse(f"projects/{project}/notes/n")
    assert str(note) == f"projects/{project}/notes/n"


@pytest.mark.parametrize("project", ["", "My-Project", "a/b", "p p", "-p", "p\n", "projects/p"])
def test_a_text_that_is_no_project_is_refused(project: str) -> None:
    with pytest.raises(BadInput, match="not a project id"):
        ProjectName(project)


def test_a_full_attestor_name_is_read_whatever_the_project() -> None:
    name = AttestorName.parse("projects/p/attestors/built-by-ci", "other")
    assert (name.project, name.id) == ("p", "built-by-ci")


@pytest.mark.parametrize(
    "text",
    [
        "projects/p/attestors/",
        "projects/p/attestors/a/b",
        "projects//attestors/a",
        "projects/p/notes/a",
        "//binaryauthorization.googleapis.com/v1/projects/p/attestors/a",
        "projects/p/attestors/a\n",
        " projects/p/attestors/a",
        "projects/P/attestors/a",
        "a b",
        "",
    ],
)
def test_a_text_that_is_no_attestor_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="not an attestor"):
        AttestorName.parse(text, "p")


def test_an_attestor_id_needs_a_project() -> None:
    with pytest.raises(BadInput) as caught:
        AttestorName.parse("built-by-ci")
    assert "--project" in caught.value.hint


@pytest.mark.parametrize(
    "text", ["", "n", "projects/p/attestors/n", "projects/p/notes/n/occurrences"]
)
def test_a_text_that_is_no_note_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="not a note"):
        NoteName.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        VERSION,
        f"//cloudkms.googleapis.com/v1/{VERSION}",
        f"https://cloudkms.googleapis.com/v1/{VERSION}",
        f"gcpkms://{VERSION}",
        f"gcpkms://{VERSION.replace('cryptoKeyVersions', 'versions')}",
    ],
)
def test_a_key_version_is_read_in_every_spelling(text: str) -> None:
    version = KmsKeyVersion.parse(text)
    assert str(version) == version.name == VERSION
    assert version.key_id == f"//cloudkms.googleapis.com/v1/{VERSION}"
    assert version.key == "projects/p/locations/europe-west1/keyRings/r/cryptoKeys/k"
    assert KmsKeyVersion.find(version.key_id) == version


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not a Cloud KMS key version"),
        (VERSION.rpartition("/cryptoKeyVersions")[0], "without its version"),
        (VERSION.removesuffix("12"), "not a Cloud KMS key version"),
        (f"{VERSION}/publicKey", "not a Cloud KMS key version"),
        (VERSION.replace("/12", "/latest"), "not a Cloud KMS key version"),
        (VERSION.replace("cryptoKeyVersions", "versions"), "not a Cloud KMS key version"),
        (f"//cloudkms.googleapis.com/v2/{VERSION}", "not a Cloud KMS key version"),
        (f"//cloudkms.example.com/v1/{VERSION}", "not a Cloud KMS key version"),
        (f"awskms:///{VERSION}", "not a Cloud KMS key version"),
        (f"{VERSION}\n", "not a Cloud KMS key version"),
        ("ni:///sha-256;EwVxs8fNUAHq9FI2AMfh8WNIXVBuuTMeGtPH72U-I70", "not a Cloud KMS key"),
    ],
)
def test_a_text_that_is_no_key_version_is_refused(text: str, reason: str) -> None:
    assert KmsKeyVersion.find(text) is None
    with pytest.raises(BadInput, match=reason):
        KmsKeyVersion.parse(text)


@given(st.text() | st.text(alphabet="projects/P:.-\n").map(lambda text: f"projects/p/{text}"))
def test_any_text_is_a_name_that_round_trips_or_is_bad_input(text: str) -> None:
    for kind in (AttestorName, NoteName, KmsKeyVersion):
        try:
            name = kind.parse(text)
        except BadInput:
            continue
        assert kind.parse(str(name)) == name
