"""Image name patterns, as policies of every kind have them."""

import re


def covers(pattern: str, image: str) -> bool:
    """Whether a pattern covers the image as a pod names it.

    resources.proto, AdmissionWhitelistPattern: a trailing ``*`` is any text without ``/``, a
    trailing ``**`` any text, both only after the registry; everything else is literal.
    """
    stars = 2 if pattern.endswith("**") else int(pattern.endswith("*"))
    literal = pattern[: len(pattern) - stars]
    if not stars or "/" not in literal:
        return image == pattern
    tail = "[^/]*" if stars == 1 else ".*"
    return re.fullmatch(re.escape(literal) + tail, image, re.DOTALL) is not None
