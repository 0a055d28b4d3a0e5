"""Remove from an environment what the program never reads, before it becomes an image.

Usage: prune.py SITE_PACKAGES

Only whole files go, each by a rule that says why; what stays is byte for byte what the lock's
hashes stand for, and each package's list of its files (RECORD) is kept true. A rule that finds
nothing fails the build: an upgrade has moved what it was written for. docs/dependencies.md has
these rules as a table, and tests run every verb without the files.
"""

from __future__ import annotations

import csv
import re
import sys
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib.metadata import Distribution, distributions
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Rule:
    """Files of a package that are left out; patterns are of their paths, `*` crossing folders."""

    package: str
    """The distribution's name, or `*` for all but our own."""
    files: tuple[str, ...]
    why: str
    stays: tuple[str, ...] = ()


OWN = "binauthz-attest"
RULES = (
    Rule("*", ("../../../bin/*",), "commands of libraries, which nobody calls here"),
    Rule("*", ("*.pyi", "*/py.typed"), "read by type checkers only"),
    Rule(
        "*",
        ("*.proto", "*.h", "*.c", "*.pxd", "*.pyx", "*/gapic_metadata.json"),
        "sources that other files were made from, and indexes for tools",
    ),
    Rule("*", ("*/tests/*", "*/testdata/*"), "tests of the libraries themselves"),
    Rule(
        "pygments",
        ("pygments/lexers/*", "pygments/formatters/*"),
        "languages to colour and forms to colour them in: no source code is shown",
        stays=("*/__init__.py", "*/_mapping.py"),
    ),
    Rule(
        "pyyaml",
        ("yaml/_yaml.*",),
        "a faster parser in C; PyYAML does without, and what is read here is short",
    ),
    Rule(
        "google-cloud-binary-authorization",
        ("google/cloud/binaryauthorization/*", "google/cloud/binaryauthorization_v1beta1/*"),
        "an older version of the interface, and a second name of the one that is used",
    ),
    Rule(
        "google-cloud-build",
        ("google/cloud/devtools/cloudbuild/*", "google/cloud/devtools/cloudbuild_v2/*"),
        "connections to repositories, and a second name of the interface that is used",
    ),
    Rule(
        "google-cloud-kms",
        ("google/cloud/kms/*",),
        "a second name of the interface that is used",
    ),
    Rule(
        "cffi",
        ("cffi/*", "cffi-*/entry_points.txt"),
        "makes bindings when something is built; `_cffi_backend`, which runs them, stays",
    ),
    Rule("pycparser", ("*",), "used by that half of cffi only"),
    Rule("pyasn1", ("*",), "used by google-auth for keys of the package `rsa`, which is not here"),
    Rule("pyasn1-modules", ("*",), "as pyasn1"),
)


def left_out(rule: Rule, package: str, file: str) -> bool:
    """Whether a rule leaves a package's file out."""
    concerned = package == rule.package or (rule.package == "*" and package != OWN)
    return (
        concerned
        and any(fnmatchcase(file, pattern) for pattern in rule.files)
        and not any(fnmatchcase(file, pattern) for pattern in rule.stays)
    )


def prune(site: Path) -> dict[Rule, int]:
    """Remove the files and return how many bytes each rule took; every rule finds some."""
    taken = dict.fromkeys(RULES, 0)
    for distribution in list(distributions(path=[str(site)])):
        owner, files = package(distribution), [str(file) for file in distribution.files or []]
        removed = set()
        for file in files:
            rule = next((rule for rule in RULES if left_out(rule, owner, file)), None)
            if rule is not None:
                taken[rule] += (site / file).stat().st_size
                (site / file).unlink()
                removed.add(file)
        [record] = [file for file in files if file.endswith(".dist-info/RECORD")]
        if record not in removed:
            rewrite_record(site / record, removed)
    # Folders that are empty now would still be found, as packages without code.
    for folder in sorted(site.rglob("*"), reverse=True):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
    return taken


def package(distribution: Distribution) -> str:
    """Its name, normalised.

    https://packaging.python.org/en/latest/specifications/name-normalization/
    """
    return re.sub(r"[-_.]+", "-", distribution.metadata["Name"]).lower()


def rewrite_record(record: Path, removed: set[str]) -> None:
    """Drop what is gone from the list of a package's files.

    Its form: https://packaging.python.org/en/latest/specifications/recording-installed-packages/.
    """
    with record.open(newline="", encoding="utf-8") as listed:
        rows = [row for row in csv.reader(listed) if row[0] not in removed]
    with record.open("w", newline="", encoding="utf-8") as listed:
        csv.writer(listed, lineterminator="\n").writerows(rows)


def main(site: Path) -> None:
    """Prune and say what that took."""
    for rule, size in prune(site).items():
        if not size:
            sys.exit(f"prune.py: nothing of {rule.package} matches {' '.join(rule.files)}")
        sys.stdout.write(f"{size / 1e6:6.2f} MB  {rule.package}: {rule.why}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
