"""An image and a policy for vulnerabilities become a yes: wait for the scan, then judge it."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar

from step.clock import show_duration
from step.cloud.connection import Connection
from step.cloud.scans import Scans
from step.concurrency import patiently, poll
from step.errors import BadInput, Refused
from step.events import Progress
from step.model.image import ImageRef
from step.model.names import ProjectName
from step.model.vulnerability import (
    Failed,
    Findings,
    Finished,
    Unfinished,
    VulnerabilityPolicy,
    scan_of,
)

# As many violations as a reader takes in; the others are counted.
_VIOLATIONS_SHOWN = 20


@dataclass(frozen=True, slots=True)
class ScanCheck:
    """Vulnerabilities must be within a policy's limits, once Artifact Analysis has looked for them.

    `limit` is how long to wait for the end of the scan; `project` is where it is recorded, None for
    the image's own.
    """

    name: ClassVar[str] = "scan"

    policy: VulnerabilityPolicy
    limit: timedelta
    project: ProjectName | None = None

    def check(self, image: ImageRef, connection: Connection) -> Generator[Progress, None, str]:
        """Yield what is waited for, and return one line that says what was found.

        Raises Refused for a vulnerability beyond the limits and for a scan that failed, that is not
        supported, or that has not ended in time; BadInput where the image's name does not say its
        project. Needs roles/containeranalysis.occurrences.viewer on the project.
        """
        project = self.project or image.project
        if project is None:
            raise BadInput(
                f"the name of {image} does not say in which project its scan is recorded",
                "Give --image-project PROJECT.",
            )
        scans = Scans(connection, project)
        finished = yield from self._finished(image, scans, connection)
        findings = self.policy.findings(scans.vulnerabilities(image))
        if findings.violations:
            raise _refusal(image, findings)
        within = ", none beyond the policy's limits" if findings.severities else ""
        # https://cloud.google.com/artifact-analysis/docs/container-scanning-overview
        stale = "; warning: continuous analysis is inactive, newer vulnerabilities are not included"
        return f"scan complete, {findings}{within}{'' if finished.is_kept_current else stale}"

    def _finished(
        self, image: ImageRef, scans: Scans, connection: Connection
    ) -> Generator[Progress, None, Finished]:
        """Ask, with growing pauses, until the scan has ended; raises Refused if time is up."""
        looks = poll(
            lambda: scan_of(tuple(scans.discoveries(image))),
            connection.deadline,
            self.limit,
            patiently,
        )
        for scan, elapsed, _ in looks:
            match scan:
                case Finished():
                    return scan
                case Failed(reason=reason):
                    raise Refused(
                        f"the scan of {image} cannot be judged by: {reason}",
                        "A failed scan finds nothing: push the image again to have it scanned "
                        "anew, and see which images Artifact Analysis can scan.",
                    )
                case Unfinished(state=state):
                    doing = f"waiting for the scan: {state}"
                    yield Progress(image, None, doing, elapsed, self.limit)
        raise Refused(
            f"the scan of {image} was not complete after {show_duration(elapsed)}: {state}",
            "Give a longer --vulnerability-timeout; images are scanned where "
            "containerscanning.googleapis.com was enabled before they were pushed. A scan counts "
            "for the digest that it is of; of an index, not every platform has one.",
        )


def _refusal(image: ImageRef, findings: Findings) -> Refused:
    violations = findings.violations
    shown = "; ".join(map(str, violations[:_VIOLATIONS_SHOWN]))
    more = len(violations) - _VIOLATIONS_SHOWN
    return Refused(
        f"{image} has {findings}, and {len(violations)} beyond the policy's limits: {shown}"
        + (f"; and {more} more" if more > 0 else ""),
        "Update what is vulnerable, or list its note in allowlistCVEs once it is judged.",
    )
