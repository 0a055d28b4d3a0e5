"""What Cloud Build keeps of a step's result."""

from __future__ import annotations

from collections.abc import Mapping

from step.results.document import fitted
from step.results.files import write_whole
from step.results.result import Result

# "Only the first 50KB of data is stored": Results.build_step_outputs of
# google/devtools/cloudbuild/v1/cloudbuild.proto, read as the smaller of the two kilobytes.
OUTPUT_LIMIT = 50_000


def publish(result: Result, environ: Mapping[str, str]) -> None:
    """Write `$BUILDER_OUTPUT/output`, which becomes one of the build's `buildStepOutputs`.

    It is the JSON document, shortened to 50 KB by leaving out whole keys. Does nothing outside
    Cloud Build; raises BadInput when the file cannot be written.
    """
    if folder := environ.get("BUILDER_OUTPUT"):
        write_whole(f"{folder}/output", fitted(result, OUTPUT_LIMIT))
