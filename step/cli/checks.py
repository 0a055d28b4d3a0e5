"""What must be true of an image before it is signed: from options to checks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from step.cli.options import BEFORE, given_of, no_effect, option
from step.cli.program import read_text
from step.clock import parse_duration
from step.errors import BadInput
from step.model.names import ProjectName

if TYPE_CHECKING:
    from step.model.build import BuildName
    from step.preconditions import Check


@dataclass(frozen=True, slots=True)
class CheckOptions:
    """What the options say of scans and builds."""

    vulnerability_policy: str | None = option(
        BEFORE,
        "Sign only what Artifact Analysis scanned and this file allows: a VulnzSigningPolicy, as "
        "kritis has it.",
        "PATH",
    )
    vulnerability_timeout: str = option(
        BEFORE, "How long to wait for the end of the scan: 90s, 5m or 1h.", "DURATION", "5m"
    )
    require_build: bool = option(
        BEFORE,
        "Sign only what a record says was built as the --trusted options ask: that of --build, "
        "or a BUILD occurrence.",
        default=False,
    )
    trusted_builder: list[str] | None = option(
        BEFORE, "Id of a builder that may have built it. Repeatable.", "ID"
    )
    trusted_project: list[str] | None = option(
        BEFORE, "Project whose Cloud Build may have built it. Repeatable.", "PROJECT"
    )
    trusted_trigger: list[str] | None = option(
        BEFORE, "Trigger that may have started the build. Repeatable.", "ID"
    )
    trusted_source: list[str] | None = option(
        BEFORE, "Repository it may have been built from. Repeatable.", "REPOSITORY"
    )
    trusted_recorder: list[str] | None = option(
        BEFORE,
        "Project of the notes that BUILD occurrences count on; default verified-builder, where "
        "Cloud Build's are. Repeatable.",
        "PROJECT",
    )
    image_project: str | None = option(
        BEFORE,
        "Project that holds the image's scans and build records; default the one in its name.",
        "PROJECT",
    )
    check_only: bool = option(
        BEFORE,
        "Make these checks and nothing else: no attestor is needed, and nothing is signed.",
        default=False,
    )

    @property
    def wait(self) -> timedelta:
        """How long a scan may be waited for."""
        if self.vulnerability_policy is None:
            return timedelta(0)
        return parse_duration(self.vulnerability_timeout, "--vulnerability-timeout")

    def checks(self, build: BuildName | None) -> tuple[Check, ...]:
        """The checks to hold against every image; `build` is the build of Cloud Build, if named.

        Raises BadInput for an option that would have no effect: whoever gave it believes that
        something is checked.
        """
        checks = tuple(self._checks(build))
        if not checks and self.check_only:
            raise BadInput(
                "--check-only is given, and nothing to check",
                "Give --vulnerability-policy PATH, or --require-build.",
            )
        if not checks and self.image_project:
            raise no_effect(["--image-project"], "--vulnerability-policy or --require-build")
        return checks

    def _checks(self, build: BuildName | None) -> Iterator[Check]:
        project = ProjectName(self.image_project) if self.image_project else None
        trusted = (
            tuple(self.trusted_builder or ()),
            tuple(self.trusted_project or ()),
            tuple(self.trusted_trigger or ()),
            tuple(self.trusted_source or ()),
        )
        recorders = tuple(map(ProjectName, self.trusted_recorder or ()))
        if self.require_build:
            from step.model.provenance import TrustedBuild
            from step.preconditions.build import CLOUD_BUILD, BuildCheck

            recorders = recorders or (CLOUD_BUILD,)
            yield BuildCheck(TrustedBuild(*trusted), project, build, recorders)
        elif given := [flag for flag in given_of(self) if flag.startswith("--trusted-")]:
            raise no_effect(given, "--require-build")
        limit = parse_duration(self.vulnerability_timeout, "--vulnerability-timeout")
        if self.vulnerability_policy is not None:
            from step.model.vulnerability import VulnerabilityPolicy
            from step.preconditions.scan import ScanCheck

            option = "--vulnerability-policy"
            text = read_text(self.vulnerability_policy, option)
            yield ScanCheck(VulnerabilityPolicy.parse(text, option), limit, project)
