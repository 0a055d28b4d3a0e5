"""The page about bulk work: right without a browser, and quick in a real one."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from step.results.page import STATUSES, Cell, Line, render
from tests.results.browser import Browser, browser

COLUMNS = [
    "projects/my-project/attestors/built-by-ci //cloudkms.googleapis.com/v1/projects/my-project/"
    "locations/europe-west1/keyRings/ci/cryptoKeys/attest/cryptoKeyVersions/2",
    "projects/my-project/attestors/tested //cloudkms.googleapis.com/v1/projects/my-project/"
    "locations/europe-west1/keyRings/ci/cryptoKeys/test/cryptoKeyVersions/7",
]
HOSTILE = "</script><img src=http://evil.example onerror=alert(1)>\u202e\x00\u2028&amp;'\""
SHOTS = "TESTS_SCREENSHOTS"
ROWS = "return document.querySelectorAll('#body [role=row]').length"
SHOWN = "return document.getElementById('shown').textContent"


def lines(count: int, failed: int = 0, refused: int = 0) -> Iterator[Line]:
    names = ("web", "api", "worker", "billing/invoices", "search/indexer")
    for number in range(count):
        digest = hashlib.sha256(str(number).encode()).hexdigest()
        image = f"europe-docker.pkg.dev/my-project/apps/{names[number % 5]}@sha256:{digest}"
        first = Cell("created")
        if number < failed:
            first = Cell("failed", "AsymmetricSign: cloudkms.googleapis.com did not answer")
        elif number < failed + refused:
            first = Cell("refused", "no attestation of projects/my-project/attestors/old verifies")
        yield Line(image, (first, Cell("existing" if number % 9 == 0 else "created")))


def page(count: int, **wrong: int) -> str:
    facts = [("Images", f"{count:,}"), ("Made", "2026-11-27 10:00 UTC")]
    return "".join(render("Re-attestation", facts, COLUMNS, lines(count, **wrong)))


def rows(text: str) -> list[list[Any]]:
    [data] = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)
    parsed = json.loads(data)
    assert isinstance(parsed, list)
    return parsed


@pytest.mark.parametrize("count", [0, 1, 500])
def test_every_image_is_in_the_data(count: int) -> None:
    text = page(count, failed=min(count, 3))
    assert [row[1] for row in rows(text)] == [
        line.image.rpartition(":")[2] for line in lines(count)
    ]
    assert set(re.findall(r"https?://[^\s\"']*", text)) == {"http://www.w3.org/2000/svg"}


def test_only_its_own_style_and_script_are_allowed() -> None:
    text = page(3)
    [policy] = re.findall(r'http-equiv="Content-Security-Policy" content="(.*?)"', text)
    for tag in ("style", "script"):
        [inline] = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.S)
        hashed = base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()
        assert f"{tag}-src &#39;sha256-{hashed}&#39;" in policy or f"'sha256-{hashed}'" in policy
    assert "default-src 'none'" in policy


def test_hostile_texts_stay_texts() -> None:
    line = Line(HOSTILE, (Cell("failed", HOSTILE),))
    text = "".join(render(HOSTILE, [(HOSTILE, HOSTILE), ("Warning", HOSTILE)], [HOSTILE], [line]))
    assert "<img" not in text
    assert not set("\u202e\x00\u2028") & set(text)
    assert text.count("</script>") == 2
    assert len(rows(text)) == 1


@given(st.text(), st.text(), st.sampled_from(sorted(STATUSES)))
def test_any_text_is_one_row(image: str, detail: str, status: str) -> None:
    cells = (Cell(status, detail), Cell(""))
    text = "".join(render("x", [], COLUMNS, [Line(image, cells)]))
    assert len(rows(text)) == 1


@pytest.mark.parametrize("cells", [(), (Cell("created"),), (Cell("created"), Cell("nothing"))])
def test_a_line_has_a_known_status_for_each_column(cells: tuple[Cell, ...]) -> None:
    with pytest.raises(ValueError, match=r"cells for|is no status"):
        "".join(render("x", [], COLUMNS, [Line("i", cells)]))


def test_memory_does_not_grow_with_the_rows() -> None:
    def peak(count: int) -> int:
        tracemalloc.start()
        try:
            for _ in render("x", [], COLUMNS, lines(count)):
                pass
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(1)
    assert peak(20_000) < 1.5 * peak(200) + 100_000


# In a browser


@pytest.fixture
def window(tool: Callable[[str], str], tmp_path: Path) -> Iterator[Browser]:
    with browser(tool, tmp_path) as opened:
        opened.resize(1200, 800)
        yield opened


def show(window: Browser, folder: Path, count: int, **wrong: int) -> None:
    file = folder / "report.html"
    file.write_text(page(count, **wrong), encoding="utf-8")
    window.open(file)


def keep(window: Browser, name: str) -> None:
    """For who wants to look at it."""
    if folder := os.environ.get(SHOTS):
        Path(folder, f"{name}.png").write_bytes(window.screenshot())


def test_a_click_filters_and_another_takes_it_back(window: Browser, tmp_path: Path) -> None:
    show(window, tmp_path, 20_000, failed=3, refused=12)
    window.until(SHOWN, "20,000 images")
    assert 5 < window.run(ROWS) < 200
    keep(window, "all")
    window.click("button[data-status=failed]")
    window.until(ROWS, 3)
    assert "3 of 20,000" in window.run(SHOWN)
    assert "did not answer" in window.run("return document.getElementById('body').innerText")
    pressed = "return document.querySelector('button[data-status=failed]').ariaPressed"
    assert window.run(pressed) == "true"
    keep(window, "failed")
    window.click("button[data-status=failed]")
    window.until(SHOWN, "20,000 images")
    window.type("#search", "billing")
    window.until("return document.getElementById('shown').textContent.includes('4,000')", True)
    assert window.complaints() == []


def test_a_hundred_thousand_rows_are_few_elements(window: Browser, tmp_path: Path) -> None:
    show(window, tmp_path, 100_000, failed=1)
    window.until(SHOWN, "100,000 images")
    assert window.run("return document.querySelectorAll('*').length") < 2000
    window.run("window.scrollTo(0, document.body.scrollHeight)")
    last = list(lines(100_000))[-1].image.rpartition(":")[2]
    window.until(f"return document.body.innerText.includes('{last[:7]}')", True)
    assert window.complaints() == []


def test_a_hostile_name_does_nothing(window: Browser, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    evil = "<img src=x onerror=\"document.title='evil'\">"
    line = Line(f"{evil}{HOSTILE}", (Cell("failed", evil), Cell("created")))
    file.write_text("".join(render("Report", [], COLUMNS, [line])), encoding="utf-8")
    window.open(file)
    window.until(ROWS, 1)
    assert window.run("return document.title") == "Report"
    assert window.run("return document.images.length") == 0
    assert window.complaints() == []
