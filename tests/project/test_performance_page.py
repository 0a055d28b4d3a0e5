"""docs/performance.md and README say what was measured, and nothing else."""

import json
from typing import Any

from benchmarks.page import PAGE, RESULTS, render, summary
from tests.project.tracked import ROOT

MEASURED: dict[str, Any] = json.loads(RESULTS.read_text())


def test_the_page_is_made_of_the_results() -> None:
    assert PAGE.read_text() == render(MEASURED)


def test_readme_says_in_one_line_what_a_run_costs() -> None:
    assert summary(MEASURED) in " ".join((ROOT / "README.md").read_text().split())


def test_a_machine_without_gcloud_or_an_image_makes_a_page_too() -> None:
    page = render(MEASURED | {"gcloud": None, "image_megabytes": None})
    assert "gcloud was not installed" in page
    assert "there was no image" in page


def test_what_was_measured_is_what_was_promised() -> None:
    """Each of them would be wrong to commit: the calls, the wait, and the times beside gcloud's."""
    assert len(MEASURED["calls"]) == 6
    for wait in MEASURED["waits"].values():
        assert wait["late"] <= 0.5
        assert wait["looks"] <= 2
    for latency, limit in {"0s": 0.80, "50ms": 0.85}.items():
        assert MEASURED["gcloud"][latency]["wall"]["ratio"] <= limit
    assert MEASURED["gcloud"]["0s"]["cpu"]["ratio"] <= 0.80
    for verb in ("verify", "gate"):
        assert MEASURED["hostile"][verb]["wall"]["ratio"] <= 3
        assert MEASURED["hostile"][verb]["memory"]["ratio"] <= 1.5
