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
# Keys, as https://www.w3.org/TR/webdriver2/#keyboard-actions names them.
CONTROL, DOWN = "\ue009", "\ue015"
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


def read(text: str) -> Iterator[Line]:
    """The lines, as the page's own script reads them: a name or cell is told whole only once."""
    names: list[str] = []
    cells: list[list[str]] = []
    for name, digest, *told in rows(text):
        if isinstance(name, str):
            names.append(name)
        cells += [cell for cell in told if isinstance(cell, list)]
        image = name if isinstance(name, str) else names[name]
        whole = f"{image}@" * bool(image and digest) + (digest and f"sha256:{digest}") or image
        each = (cell if isinstance(cell, list) else cells[cell] for cell in told)
        yield Line(whole, tuple(Cell(*cell) for cell in each))


def test_the_data_are_the_lines() -> None:
    assert list(read(page(500, failed=3, refused=12))) == list(lines(500, failed=3, refused=12))


def test_more_distinct_texts_than_are_remembered_are_read_back() -> None:
    given = [
        Line(f"r/{i % 1500}@sha256:{i:064x}", (Cell("failed", f"because {i % 1500}"),))
        for i in range(4000)
    ]
    given += [Line(f"sha256:{1:064x}", (Cell(""),)), Line("no digest", (Cell("left"),))]
    assert list(read("".join(render("x", [], ["one"], given)))) == given


@pytest.mark.parametrize(
    ("cells", "verdict"),
    [
        ((), "Nothing was asked for"),
        (("",), "Nothing was asked for"),
        (("created",), "The attestation is there"),
        (("created", "existing", ""), "All 2 attestations are there"),
        (("dry-run", "dry-run", "existing"), "2 of 3 attestations would be made"),
        (("created", "left"), "1 of 2 attestations was not made"),
        (("created", "left", "refused", "failed"), "3 of 4 attestations were not made"),
    ],
)
def test_the_first_line_says_whether_it_worked(cells: tuple[str, ...], verdict: str) -> None:
    given = [Line("i", (Cell(status),)) for status in cells]
    text = "".join(render("x", [], ["one"], given))
    assert re.findall(r'<p class="verdict.*?<span>(.*?)</span>', text) == [verdict]


@pytest.mark.parametrize(
    ("column", "shown"),
    [
        (COLUMNS[0], ["my-project/built-by-ci", "…/europe-west1/ci/attest/2"]),
        ("projects/p/attestors/qa ABCDEF", ["p/qa", "ABCDEF"]),
        ("f" * 40, ["…" + "f" * 31]),
        ("a/" * 20 + "end", ["…" + "/a" * 13 + "/end"]),
    ],
)
def test_a_long_heading_is_shortened(column: str, shown: list[str]) -> None:
    text = "".join(render("x", [], [column], []))
    [head] = re.findall(r'<div role="columnheader" title="(.*?)">(.*?)</div>', text)
    assert head[0] == column
    assert re.findall(r"<span>(.*?)</span>", head[1]) == shown


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


def test_the_whole_of_a_row_is_shown_and_copied(window: Browser, tmp_path: Path) -> None:
    show(window, tmp_path, 9, failed=1)
    [image, *_] = [line.image for line in lines(9)]
    window.click("#body .name")
    assert window.run("return document.getElementById('whole').open")
    told = window.run("return document.getElementById('whole').innerText")
    assert all(text in told for text in (image, *COLUMNS, "cloudkms.googleapis.com did not answer"))
    window.click("#whole-close")
    assert not window.run("return document.getElementById('whole').open")
    window.click("#body .digest")
    window.until("return document.querySelector('#body .digest').innerText", "copied")
    window.type("#search", f"{CONTROL}v")
    window.until("return document.getElementById('search').value", image)
    window.until(SHOWN, "1 of 9 images")
    assert window.complaints() == []


def test_a_copy_needs_no_clipboard_of_the_browser(window: Browser, tmp_path: Path) -> None:
    show(window, tmp_path, 9)
    window.run("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
    window.click("#body .digest")
    window.until("return document.querySelector('#body .digest').innerText", "copied")
    window.type("#search", f"{CONTROL}v")
    window.until("return document.getElementById('search').value", next(lines(1)).image)


def test_a_keyboard_is_enough(window: Browser, tmp_path: Path) -> None:
    show(window, tmp_path, 20_000)
    focused = "return document.activeElement.closest('[role=row]').ariaRowIndex"
    window.run("document.querySelector('#body .name').focus()")
    for _ in range(60):
        window.type(":focus", DOWN)
    window.until(focused, "62")
    assert window.run(ROWS) < 200
    window.type(":focus", "/")
    window.until("return document.activeElement.id", "search")
    window.type("#search", "nothing has this")
    window.until(SHOWN, "0 of 20,000 images")
    window.click("#reset")
    window.until(SHOWN, "20,000 images")


def test_a_phone_and_paper_have_every_cell(window: Browser, tmp_path: Path) -> None:
    show(window, tmp_path, 20_000, failed=2)
    window.resize(500, 800)
    wide = "return document.documentElement.scrollWidth <= innerWidth"
    window.until(wide, True)
    assert window.run("return document.querySelectorAll('#body .row:first-child .label').length")
    window.run("dispatchEvent(new Event('beforeprint'))")
    assert window.run(ROWS) == 1000
    assert "first 1,000 of 20,000" in window.run("return document.getElementById('more').innerText")
    window.run("dispatchEvent(new Event('afterprint'))")
    assert window.run(ROWS) < 200


def test_no_image_is_no_table(window: Browser, tmp_path: Path) -> None:
    show(window, tmp_path, 0)
    assert "Nothing was asked for" in window.run("return document.body.innerText")
    assert window.run("return document.getElementById('table').offsetHeight") == 0
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
