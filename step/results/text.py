"""Untrusted text made harmless: for a terminal, a log, and the runner that reads the log."""

from __future__ import annotations

import re
import unicodedata

# Letters that draw nothing, which some comparisons skip (Unicode, Default_Ignorable_Code_Point).
_INVISIBLE_LETTERS = frozenset("\u115f\u1160\u3164\uffa0")
# GitHub's runner takes a line that starts with `::`, white space aside, for a command, and the
# older `##[` anywhere in a line: src/Runner.Common/ActionCommand.cs of
# https://github.com/actions/runner. The first is broken after any white space, so that it stays
# broken where a terminal folds the line.
_COMMAND = re.compile(r"(?:(?<=\s)|\A):(?=:)")
_OLD_COMMAND = re.compile(r"#(?=#\[)")


def one_line(text: str) -> str:
    r"""Return the text as one line of visible characters that no log reader takes for a command.

    Control characters, line ends, escape sequences, direction overrides, combining marks and
    unpaired surrogates are shown as `\x1b`, `\u202e` and the like. The runner compares by culture,
    which skips characters that draw nothing, so none is let through.
    """
    if text.isascii() and text.isprintable() and not ("::" in text or "##[" in text):
        return text  # as most are
    visible = "".join(char if _is_visible(char) else _escape(char) for char in text)
    return _OLD_COMMAND.sub(r"\\x23", _COMMAND.sub(r"\\x3a", visible))


def ascii_line(text: str) -> str:
    r"""Return `one_line` of the text in ASCII, other characters shown as `\xe9` or `\u20ac`."""
    plain = one_line(text).replace("…", "...")
    return plain.encode("ascii", "backslashreplace").decode("ascii")


def _is_visible(char: str) -> bool:
    if char == " ":
        return True
    return unicodedata.category(char)[0] in "LNPS" and char not in _INVISIBLE_LETTERS


def _escape(char: str) -> str:
    code = ord(char)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
