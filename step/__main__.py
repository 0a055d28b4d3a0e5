"""`python -m step` is `binauthz-attest`."""

import sys

from step.cli import main

sys.exit(main())
