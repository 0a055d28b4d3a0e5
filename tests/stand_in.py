"""Stands in for a build or deploy tool: logs what it was given, leaves what the tool would leave.

Run as `python stand_in.py TOOL ARGUMENT…`, by the links that `tests.pipelines` makes. It is a
program of its own and shares nothing with the tests but these variables: LOG, a file; DIGEST, what
every push reports; FAILS, the beginning of a command that is to fail.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path


def option(arguments: list[str], name: str) -> str:
    """The value of `--name=VALUE`."""
    [value] = [
        argument.partition("=")[2] for argument in arguments if argument.startswith(f"--{name}=")
    ]
    return value


def log(tool: str, arguments: list[str]) -> None:
    with Path(os.environ["LOG"]).open("a") as file:
        file.write(json.dumps([tool, *arguments]) + "\n")


def docker_run(arguments: list[str]) -> int:
    """Runs this program for its own image, and a shell for Google's; another image does nothing."""
    at = next(index for index, argument in enumerate(arguments) if not argument.startswith("-"))
    options, image, command = arguments[:at], arguments[at], arguments[at + 1 :]
    pairs = [each.partition("=") for each in options]
    volumes = [value.split(":")[:2] for name, _, value in pairs if name == "--volume"]
    for source, _ in volumes:
        if not Path(source).exists():
            print(f"docker: {source} is not there to be mounted", file=sys.stderr)
            return 125
    if "google-cloud-cli" in image:
        return subprocess.run(command, check=False).returncode
    if image != os.environ.get("BINAUTHZ_ATTEST"):
        return 0
    # A container gets no variable but those it is given.
    environ = {name: os.environ[name] for name in ("PATH", "BINAUTHZ_EMULATOR_HOST")}
    for name, _, value in pairs:
        if name == "--env":
            variable, equals, given = value.partition("=")
            if equals or variable in os.environ:
                environ[variable] = given if equals else os.environ[variable]
    if (file := environ.get("GOOGLE_APPLICATION_CREDENTIALS")) and not mounted(file, volumes):
        print(f"docker: {file} is not there in the container", file=sys.stderr)
        return 125
    folder = {name: value for name, _, value in pairs}.get("--workdir", "/")
    program = [sys.executable, "-m", "step", *command]
    return subprocess.run(program, env=environ, cwd=folder, check=False).returncode


def mounted(file: str, volumes: list[list[str]]) -> bool:
    """Whether a path of the container is one of the mounted files."""
    for source, target in volumes:
        if file == target or file.startswith(f"{target}/"):
            return Path(source + file.removeprefix(target)).exists()
    return False


def docker(arguments: list[str]) -> int:
    digest = os.environ["DIGEST"]
    match arguments:
        case ["run", *rest]:
            return docker_run(rest)
        case ["login", *_]:
            return 0 if sys.stdin.read().strip() else 1
        case ["image", "inspect", tagged]:
            name = tagged.rpartition(":")[0]
            # What is asked of docker is what it has: an older push elsewhere is there, too.
            there = [f"registry.example/old/web@sha256:{'9' * 64}", f"{name}@{digest}"]
            about = {"Id": f"sha256:{'5' * 64}", "RepoTags": [tagged], "RepoDigests": there}
            print(json.dumps([about]))
        case ["buildx", "build", *rest]:
            record = {"containerimage.digest": digest, "image.name": option(rest, "tag")}
            Path(option(rest, "metadata-file")).write_text(json.dumps(record))
    return 0


def main(tool: str, arguments: list[str]) -> int:
    log(tool, arguments)
    if (fails := os.environ.get("FAILS")) and " ".join([tool, *arguments]).startswith(fails):
        return 1
    digest = os.environ["DIGEST"]
    match tool, arguments:
        case "docker", _:
            return docker(arguments)
        case "executor", _:
            Path(option(arguments, "digest-file")).write_text(digest)
        case "buildah", ["push", *rest]:
            Path(option(rest, "digestfile")).write_text(digest)
        case "pack", ["build", tagged, *rest]:
            report = f'[image]\ntags = ["{tagged}"]\ndigest = "{digest}"\nmanifest-size = 1\n'
            (Path(option(rest, "report-output-dir")) / "report.toml").write_text(report)
        case "gcloud", ["auth", "print-access-token"]:
            print("ya29.token")
        case "gcloud", ["builds", "submit", *_]:
            print("6a1c0f52-52b3-4b07-a9b9-0f6c1fbb44b7")
        case "kustomize", ["edit", *_]:
            return 0 if Path("kustomization.yaml").exists() else 1
        case "helm", _:
            log("values", [Path(option(arguments, "values")).read_text()])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
