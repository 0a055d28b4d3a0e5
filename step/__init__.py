"""binauthz-attest: Binary Authorization attestations, from the image that a build made to one that
can be read back and verified.
"""

__version__ = "0.1.0"
