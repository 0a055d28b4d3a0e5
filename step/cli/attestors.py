"""Which attestors: from options to names."""

from __future__ import annotations

from dataclasses import dataclass

from step.cli.options import WHO, alias, option
from step.errors import BadInput
from step.model.names import AttestorName

PROJECT = "Project of attestors that are named without one."


@dataclass(frozen=True, slots=True)
class AttestorOptions:
    """What the options say of the attestors."""

    attestor: list[str] | None = option(
        WHO,
        "projects/PROJECT/attestors/ATTESTOR, or ATTESTOR alone beside --project. Repeatable.",
        "NAME",
    )
    project: str | None = option(WHO, PROJECT, "PROJECT")
    attestor_project: str | None = alias()

    @property
    def default_project(self) -> str | None:
        """The project of what is named without one."""
        return self.project or self.attestor_project

    def names(self) -> tuple[AttestorName, ...]:
        """The attestors, each once, in order; raises BadInput for none."""
        if not self.attestor:
            raise BadInput(
                "no attestor was given", "Give --attestor projects/PROJECT/attestors/ATTESTOR."
            )
        parsed = (AttestorName.parse(name, self.default_project) for name in self.attestor)
        return tuple(dict.fromkeys(parsed))
