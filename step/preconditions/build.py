"""An image becomes a yes or a no: was it made by a build that is trusted?"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import ClassVar

from step.cloud.builds import Builds
from step.cloud.connection import Connection
from step.cloud.provenance import Provenance
from step.discovery.builds import record_of
from step.errors import BadInput, Refused
from step.events import Progress
from step.model.build import Build, BuildName
from step.model.image import ImageRef
from step.model.names import ProjectName
from step.model.provenance import BuildRecord, TrustedBuild, shown

_NO_RECORD = (
    "Cloud Build records what it pushes to Artifact Registry, once the build has ended; with "
    "options.requestedVerifyOption: VERIFIED the build fails where it cannot. For an image that is "
    "elsewhere, name the build with --build; where its records are in another project, "
    "--image-project."
)
_UNTRUSTED = (
    "Compare with --trusted-builder, --trusted-project, --trusted-trigger and --trusted-source: "
    "all that are given have to hold in one record, value for value. Records of other builders "
    "than Cloud Build count where --trusted-recorder names the project of their notes."
)
CLOUD_BUILD = ProjectName("verified-builder")
"""The project of the notes that Cloud Build attaches provenance to, where nobody else can.

As in the provenance that slsa-verifier is tested with:
https://github.com/slsa-framework/slsa-verifier/tree/main/cli/slsa-verifier/testdata/gcb
"""
# How many records a message tells of.
_TOLD = 5


@dataclass(frozen=True, slots=True)
class BuildCheck:
    """That a trusted build made an image, by the records in Container Analysis, or by one build.

    The records are looked for in `project`, or in that of the image's registry, and count only on
    notes of `recorders`: to write an occurrence takes leave to attach it to its note. With `build`,
    that build's own record at Cloud Build is judged instead.
    """

    name: ClassVar[str] = "build"

    trusted: TrustedBuild
    project: ProjectName | None = None
    build: BuildName | None = None
    recorders: tuple[ProjectName, ...] = (CLOUD_BUILD,)

    def check(self, image: ImageRef, connection: Connection) -> Generator[Progress, None, str]:
        """Judge every record; the line that is returned says which one was accepted.

        Raises Refused, with each record's reason, when there is none that is trusted; BadInput
        when it is not known where records are; NotFound for a build that there is not, and
        NotAllowed or Unavailable when it could not be asked. Needs
        roles/containeranalysis.occurrences.viewer on the project, or
        roles/cloudbuild.builds.viewer on that of the build.
        """
        if self.build is not None:
            yield Progress(image, None, f"reading {self.build}")
            return self._built(image, Builds(connection).get(self.build))
        project = self.project or image.project
        if project is None:
            raise BadInput(
                f"it is not known which project holds the records of builds of {image.name}",
                "Name it with --image-project, or name the build of Cloud Build with --build.",
            )
        yield Progress(image, None, f"reading the records of its builds in {project}")
        return self._recorded(image, project, connection)

    def _recorded(self, image: ImageRef, project: ProjectName, connection: Connection) -> str:
        accepted: list[str] = []
        rejected: list[str] = []
        for stored in Provenance(connection).of(project, image):
            record = stored.record
            if not any(stored.note.startswith(f"{project}/notes/") for project in self.recorders):
                rejected.append(
                    f"{stored.occurrence}: it is on the note {shown(stored.note)}, and records "
                    f"count on notes of {', '.join(map(str, self.recorders))} only"
                )
            elif isinstance(record, BadInput):
                rejected.append(f"{stored.occurrence}: {record.message}")
            elif unmet := self.trusted.unmet(record, image.digest):
                rejected.append(f"{stored.occurrence}: {unmet}")
            else:
                accepted.append(f"{stored.occurrence}: {record}")
        if accepted:
            others = f" ({len(rejected)} other rejected)" if rejected else ""
            return f"{accepted[0]}{others}"
        if not rejected:
            raise Refused(f"{project} has no record of a build of {image}", _NO_RECORD)
        told = "; ".join(
            f"({number}) {reason}" for number, reason in enumerate(rejected[:_TOLD], 1)
        )
        more = f"; and {len(rejected) - _TOLD} more" if len(rejected) > _TOLD else ""
        raise Refused(f"no record of a trusted build of {image}: {told}{more}", _UNTRUSTED)

    def _built(self, image: ImageRef, build: Build) -> str:
        try:
            pushed = record_of(build, "Cloud Build").images
        except BadInput as error:
            raise Refused(error.message, error.hint) from error
        if not any(each.digest == image.digest and image.name in each.names for each in pushed):
            raise Refused(
                f"the build {build.name} did not push {image}",
                "Name the build that pushed it, to this repository, with --build.",
            )
        record = BuildRecord.of_build(build)
        if unmet := self.trusted.unmet(record, image.digest):
            raise Refused(f"the build {build.name} is not trusted: {unmet}", _UNTRUSTED)
        return f"{build.name}: {record}"
