"""What Artifact Analysis found in an image: discovery and vulnerability occurrences."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2
from grafeas import grafeas_v1

from step.cloud.connection import Connection
from step.cloud.image_occurrences import recorded
from step.model.image import ImageRef
from step.model.names import ProjectName
from step.model.vulnerability import Discovery, PackageIssue, Severity, Vulnerability


@dataclass(frozen=True, slots=True)
class Scans:
    """The scans in a project that a connection can reach.

    Everything needs roles/containeranalysis.occurrences.viewer on the project.
    """

    connection: Connection
    project: ProjectName

    def discoveries(self, image: ImageRef) -> Iterator[Discovery]:
        """How far the scans of an image's digest are, in any repository of the project."""
        return map(_discovery, self._of(image, "DISCOVERY"))

    def vulnerabilities(self, image: ImageRef) -> Iterator[Vulnerability]:
        """What was found in an image's digest, read page by page as it is used."""
        return map(_vulnerability, self._of(image, "VULNERABILITY"))

    def _of(self, image: ImageRef, kind: str) -> Iterator[grafeas_v1.Occurrence]:
        # One of another kind is a scan without status, or a vulnerability without severity.
        chosen = f'has_suffix(resourceUrl, "{image.digest}") AND kind="{kind}"'
        return recorded(self.connection, self.project, image, chosen)


def _discovery(occurrence: grafeas_v1.Occurrence) -> Discovery:
    # As numbers, here and below: one that this version of the client does not know has no name.
    discovery = grafeas_v1.DiscoveryOccurrence.pb(occurrence.discovery)
    errors = [*discovery.analysis_error]
    if discovery.HasField("analysis_status_error"):
        errors.append(discovery.analysis_status_error)
    inactive = grafeas_v1.DiscoveryOccurrence.ContinuousAnalysis.INACTIVE
    return Discovery(
        note=occurrence.note_name,
        status=discovery.analysis_status,
        errors=tuple(map(_text, errors)),
        is_kept_current=discovery.continuous_analysis != inactive,
    )


def _text(error: status_pb2.Status) -> str:
    """What an error says to people, which may be in its details alone (discovery.proto)."""
    told = error_details_pb2.LocalizedMessage()
    texts = [str(error.message)]
    for detail in error.details:
        with suppress(DecodeError):  # whoever wrote it may have written anything
            if detail.Unpack(told):
                texts.append(str(told.message))
    return "; ".join(texts).strip("; ")


def _vulnerability(occurrence: grafeas_v1.Occurrence) -> Vulnerability:
    vulnerability = grafeas_v1.VulnerabilityOccurrence.pb(occurrence.vulnerability)
    return Vulnerability(
        note=occurrence.note_name,
        severity=Severity.of(vulnerability.effective_severity),
        issues=tuple(
            PackageIssue(
                package=issue.affected_package,
                fixed=_FIXED.get(issue.fixed_version.kind),
                severity=Severity.of(issue.effective_severity),
            )
            for issue in vulnerability.package_issue
        ),
    )


# grafeas/v1/package.proto, Version.VersionKind: MAXIMUM stands for no fix yet
# (grafeas/v1/vulnerability.proto, PackageIssue.fixed_version); of others nothing is known.
_FIXED = {
    int(grafeas_v1.Version.VersionKind.NORMAL): True,
    int(grafeas_v1.Version.VersionKind.MAXIMUM): False,
}
