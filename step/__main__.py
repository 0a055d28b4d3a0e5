"""`binauthz-attest`, and `python -m step`, which is the same."""

import gc
import sys

# A start makes some 300,000 objects and no garbage: at Python's own threshold, the collector would
# look at them over and over, which takes a tenth of it.
gc.set_threshold(100_000)


def run() -> int:
    """Run the program and return its exit code."""
    from step.cli.streams import secure_streams

    secure_streams()
    from step.cli import main

    return main()


if __name__ == "__main__":
    sys.exit(run())
