"""How much of what others may write is looked at: each bound, and why it is far above the honest.

Whoever may attach to a note, or write an attestor, decides how large and how many these things are.
A bound is applied before a library sees them. How many occurrences are read is bounded by a run's
deadline alone: a number would let whoever writes more of them hide the good one. SECURITY.md lists
the bounds, held to this file by tests/project/test_security_page.py.
"""

from __future__ import annotations

PAYLOAD_BYTES = 64 << 10
"""Of a payload; gcloud's is under 1 KB, most of it the image's name."""

SIGNATURE_BYTES = 128 << 10
"""Of a signature; ML-DSA's has 3,309 bytes, and an OpenPGP message is the payload and 1 to 2 KB."""

SIGNATURES = 32
"""Of an occurrence; every tool known writes one."""

ATTESTOR_KEYS = 1000
"""Of an attestor: Binary Authorization's own limit, https://cloud.google.com/binary-authorization/quotas."""

KEY_BYTES = 1 << 20
"""Of a public key; an OpenPGP key that hundreds of people certified has some 100 KB."""

UNPACKED_BYTES = 64 << 10
"""Of an OpenPGP message unpacked, beyond the payload: room for its signatures."""

UNPACKED_DEPTH = 4
"""Of compression in compression; gpg compresses once."""

PACKETS = 128
"""Of an OpenPGP message; a signed one has three for each signature at most."""

TEXT_LENGTH = 500
"""Of a text from outside, in a message or a verdict; the longest resource names have some 300."""

RECEIVED_BYTES = 32 << 20
"""Of an answer over gRPC; a page of 250 honest occurrences has under 2 MB."""
