"""Reports to render: one of each outcome, and any number of hostile ones."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st

from step.attest import Receipt, Status
from step.errors import BadInput, NotVisible, Refused, StepError
from step.events import Failure
from step.model.image import ImageRef
from step.model.names import AttestorName, NoteName
from step.results.goal import Goal
from step.results.result import Result

APP = ImageRef.parse("eu.gcr.io/p/app@sha256:" + "a" * 64)
WEB = ImageRef.parse("docker.io/me/web@sha256:" + "b" * 64)
QA, PROD = AttestorName("p", "qa"), AttestorName("p", "prod")
CREATED = Receipt(
    APP,
    QA,
    NoteName("p", "qa-note"),
    "//cloudkms.googleapis.com/v1/projects/p/k/1",
    "ECDSA_P256_SHA256",
    Status.CREATED,
    b"{}\n",
    b"\xff\x00",
    "projects/p/occurrences/1",
    f"https://{APP}",
    datetime(2026, 11, 2, 3, 4, 5, 60, tzinfo=UTC),
    timedelta(seconds=3.2104),
)
EXISTING = Receipt(
    WEB, QA, NoteName("p", "qa-note"), "KEY", "OPENPGP", Status.EXISTING, b"p", b"s", "o/2"
)
DRY_RUN = Receipt(WEB, PROD, NoteName("p", "n"), "KEY", "OPENPGP", Status.DRY_RUN, b"p")
REFUSED = Failure(WEB, PROD, Refused("the attestor says no", "Register the key."))
UNUSABLE = Failure(None, None, BadInput("no image was given"))


def report(*parts: Receipt | Failure, build: str | None = None) -> Result:
    return Result(
        Goal.ATTESTED,
        tuple(part for part in parts if isinstance(part, Receipt)),
        tuple(part for part in parts if isinstance(part, Failure)),
        build,
    )


# What an attacker would put into a name, a key id or the text of an error.
PIECES = (
    "::set-output name=image::evil",
    "::add-mask::a",
    "::stop-commands::x",
    "##[set-output name=image]evil",
    "##[error]x",
    "#",
    ":",
    "[",
    "]",
    "\n",
    "\r",
    "\r\n",
    " ",
    "\t",
    "\u0085",
    "\u2028",
    "\u200b",
    "\u034f",
    "\u202e",
    "\u115f",
    "\u00ad",
    "\ud800",
    "\x1b[31m",
    "\x1b]8;;http://x\x07",
    "\x9b31m",
    "\0",
    "%0A",
    "%25",
    "%3A",
    ",",
    "ghadelimiter_",
    "image=evil",
    "<<",
    "</code></td></table>",
    "<script>",
    "&lt;",
    '"',
    "'",
    "`",
    "|",
    "[x](http://x)",
    "[bold]",
    "[/]",
    ":smile:",
    "\\",
    "\\u0023",
    "é",
    "日本",
    "…",
)
HOSTILE = st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=8).map("".join)


@st.composite
def hostile_reports(draw: st.DrawFn) -> Result:
    """Reports in which everything that is free text is hostile."""
    receipts = st.builds(
        Receipt,
        st.sampled_from([APP, WEB]),
        st.sampled_from([QA, PROD]),
        st.just(NoteName("p", "n")),
        HOSTILE,
        HOSTILE,
        st.sampled_from(Status),
        st.binary(max_size=9),
        st.none() | st.binary(max_size=9),
        st.none() | HOSTILE,
        HOSTILE,
    )
    errors = st.builds(Refused, HOSTILE, HOSTILE) | st.builds(NotVisible, HOSTILE, HOSTILE)
    failures = st.builds(Failure, st.none() | st.just(APP), st.none() | st.just(QA), errors)
    parts = draw(st.lists(receipts | failures, min_size=1, max_size=5))
    return report(*parts, build=draw(st.none() | HOSTILE))


def failure(error: StepError) -> Failure:
    return Failure(APP, QA, error)
