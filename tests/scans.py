"""What Artifact Analysis would have stored of an image, and policies to hold it against."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from google.api_core.exceptions import AlreadyExists
from grafeas import grafeas_v1 as g

from tests.world import IMAGE, PROJECT, World

SCANNER = "projects/goog-analysis/notes/PACKAGE_VULNERABILITY"
COMPLETE, PENDING, SCANNING, FAILED, UNSUPPORTED = 3, 1, 2, 4, 5
NORMAL, MAXIMUM = {"kind": "NORMAL", "name": "1.1"}, {"kind": "MAXIMUM"}
STRICT = {"maximumFixableSeverity": "MEDIUM", "maximumUnfixableSeverity": "MEDIUM"}


def written(requirements: Any = STRICT) -> str:
    """A policy with these requirements, as a file holds it."""
    return json.dumps(
        {
            "apiVersion": "kritis.grafeas.io/v1beta1",
            "kind": "VulnzSigningPolicy",
            "metadata": {"name": "p"},
            "spec": {"imageVulnerabilityRequirements": requirements},
        }
    )


def discovery(status: int, **fields: Any) -> g.DiscoveryOccurrence:
    """How far a scan is; a status that the client does not know can be given, too."""
    made = g.DiscoveryOccurrence(**fields)
    g.DiscoveryOccurrence.pb(made).analysis_status = status
    return made


def scan(
    world: World,
    status: int = COMPLETE,
    note: str = SCANNER,
    uri: str = f"https://{IMAGE}",
    project: str = PROJECT,
    **fields: Any,
) -> g.Occurrence:
    """Store how far a scan is."""
    about = g.Note(discovery={"analysis_kind": "VULNERABILITY"})
    made = g.Occurrence(note_name=note, resource_uri=uri, discovery=discovery(status, **fields))
    return _stored(world, project, about, [made])[0]


def rescan(world: World, occurrence: g.Occurrence, status: int) -> None:
    """Let a scan be that far from now on."""
    changed = g.Occurrence(occurrence)
    changed.discovery = discovery(status)
    request = g.UpdateOccurrenceRequest(name=occurrence.name, occurrence=changed)
    world.client(g.GrafeasClient).update_occurrence(request=request)


def vulnerability(
    world: World,
    cve: str = "CVE-2020-10543",
    severity: int = 4,
    fixed: Mapping[str, str] | None = NORMAL,
    uri: str = f"https://{IMAGE}",
    count: int = 1,
    of_package: str = "SEVERITY_UNSPECIFIED",
    **fields: Any,
) -> None:
    """Store a vulnerability of one package, in as many occurrences as `count` says."""
    issue: dict[str, Any] = {"affected_package": "perl", "effective_severity": of_package}
    if fixed is not None:
        issue["fixed_version"] = dict(fixed)
    details = g.VulnerabilityOccurrence(package_issue=[issue], **fields)
    g.VulnerabilityOccurrence.pb(details).effective_severity = severity
    note = f"projects/goog-vulnz/notes/{cve}"
    made = g.Occurrence(note_name=note, resource_uri=uri, vulnerability=details)
    _stored(world, PROJECT, g.Note(vulnerability={"severity": "HIGH"}), [made] * count)


def _stored(
    world: World, project: str, about: g.Note, made: Iterable[g.Occurrence]
) -> list[g.Occurrence]:
    """Store occurrences of one note, which is made where it is not there."""
    whole = list(made)
    parent, _, note_id = whole[0].note_name.partition("/notes/")
    client = world.client(g.GrafeasClient)
    with suppress(AlreadyExists):
        client.create_note(parent=parent, note_id=note_id, note=about)
    request = g.BatchCreateOccurrencesRequest(parent=f"projects/{project}", occurrences=whole)
    return list(client.batch_create_occurrences(request=request).occurrences)
