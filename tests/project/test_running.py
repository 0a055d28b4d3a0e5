"""A run of the tests ends, whatever becomes of its workers."""

import os
import subprocess
import sys
from pathlib import Path

from tests.project.tracked import ROOT
from tests.running import LIMIT

# Where no report comes from it, so that the silence is counted from the start.
HANGS = "import threading\nthreading.Event().wait()\n"
DIES = "import os\ndef test_it():\n    os._exit(7)\ndef test_after_it():\n    pass\n"


def run(folder: Path, test: str, *arguments: str, limit: str) -> subprocess.CompletedProcess[str]:
    """A run of one module of tests in a folder, with this project's own conftest."""
    (folder / "tests").mkdir()
    (folder / "tests" / "conftest.py").write_text((ROOT / "tests" / "conftest.py").read_text())
    (folder / "tests" / "test_it.py").write_text(test)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-c", os.devnull]
    # In files, since a worker that hangs holds its pipes for a while after the run has ended.
    with (folder / "out").open("w") as out, (folder / "err").open("w") as err:
        done = subprocess.run(
            [*command, f"--rootdir={folder}", *arguments, str(folder / "tests")],
            cwd=ROOT,
            env=os.environ | {LIMIT: limit},
            stdout=out,
            stderr=err,
            timeout=50,
        )
    said = [(folder / name).read_text() for name in ("out", "err")]
    return subprocess.CompletedProcess(done.args, done.returncode, *said)


def test_a_run_that_hangs_ends_itself(tmp_path: Path) -> None:
    done = run(tmp_path, HANGS, "-n1", limit="4")
    assert done.returncode == 1
    assert "Timeout (0:00:04)!" in done.stderr
    assert "  ... " in done.stdout


def test_a_worker_that_dies_is_a_failure_and_the_end(tmp_path: Path) -> None:
    done = run(tmp_path, DIES, "-n1", "--max-worker-restart=0", limit="40")
    assert done.returncode != 0
    assert "crashed" in done.stdout
