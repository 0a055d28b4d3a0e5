"""What must be true of an image before it is signed: from options to checks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from step.cli import options as opt
from step.cli.program import read_text
from step.clock import parse_duration
from step.errors import BadInput
from step.model.names import ProjectName

if TYPE_CHECKING:
    from step.model.build import BuildName
    from step.preconditions import Check


@dataclass(frozen=True, slots=True)
class CheckChoice:
    """What the options say of scans and builds."""

    vulnerability_policy: opt.VulnerabilityPolicy = None
    vulnerability_timeout: opt.VulnerabilityTimeout = "5m"
    require_build: opt.RequireBuild = False
    trusted_builder: opt.TrustedBuilders = None
    trusted_project: opt.TrustedProjects = None
    trusted_trigger: opt.TrustedTriggers = None
    trusted_source: opt.TrustedSources = None
    trusted_recorder: opt.TrustedRecorders = None
    image_project: opt.ImageProject = None
    check_only: opt.CheckOnly = False

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
            raise BadInput(
                "--image-project is given, and nothing to check",
                "It says where scans and builds are recorded; give --vulnerability-policy PATH, "
                "or --require-build.",
            )
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
        elif any(trusted) or recorders:
            raise BadInput(
                "it is said which builds are trusted, and not that one is required",
                "Give --require-build, too.",
            )
        limit = parse_duration(self.vulnerability_timeout, "--vulnerability-timeout")
        if self.vulnerability_policy is not None:
            from step.model.vulnerability import VulnerabilityPolicy
            from step.preconditions.scan import ScanCheck

            option = "--vulnerability-policy"
            text = read_text(self.vulnerability_policy, option)
            yield ScanCheck(VulnerabilityPolicy.parse(text, option), limit, project)
