"""Which attestors: from options to names."""

from __future__ import annotations

from collections.abc import Sequence

from step.errors import BadInput
from step.model.names import AttestorName


def attestor_names(given: Sequence[str], project: str | None) -> tuple[AttestorName, ...]:
    """The attestors that options name, each once, in order; raises BadInput for none."""
    if not given:
        raise BadInput(
            "no attestor was given", "Give --attestor projects/PROJECT/attestors/ATTESTOR."
        )
    return tuple(dict.fromkeys(AttestorName.parse(name, project) for name in given))
