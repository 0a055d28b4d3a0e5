"""The image, built by the one command and run by buildah or with nothing but system calls."""

from __future__ import annotations

import ast
import fcntl
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
IMAGE = "localhost/binauthz-attest:test"
BASE = "localhost/binauthz-attest-base:test"
# What the build is given, instead of what is found on this machine; bases included.
IMAGE_ARGS = "BINAUTHZ_IMAGE_ARGS"
VERSION_ARGS = ("SOURCE=https://example.com/me/binauthz-attest",)

# A root that nobody may write to, as `docker run --read-only`: mounts are made in a name space of
# their own, and $0 is the user and group. Then the program takes this process over.
_READ_ONLY = """
root=$1 workdir=$2 user=$0
shift 2
mount --bind "$root" "$root"
while [ "$1" != -- ]; do mount --bind "$1" "$root$2"; shift 2; done
shift
mount -o remount,bind,ro "$root"
exec unshare --root="$root" --wd="$workdir" --setgid="$user" --setuid="$user" "$@"
"""


@dataclass(frozen=True, slots=True)
class Finished:
    """What a container's program returned and printed."""

    code: int
    out: str
    err: str

    @property
    def log(self) -> str:
        """Both streams, as a runner reads them."""
        return self.out + self.err

    @property
    def document(self) -> dict[str, Any]:
        """Standard output as the one JSON object it must be."""
        actual: dict[str, Any] = json.loads(self.out)
        return actual


@dataclass(frozen=True, slots=True)
class Engine:
    """buildah with a storage of its own, so that nothing of the machine is used or changed."""

    folder: Path

    @property
    def environ(self) -> dict[str, str]:
        """What buildah is to see, beneath make too, which must not take this make for its own."""
        kept = {name: text for name, text in os.environ.items() if not name.startswith("MAKE")}
        # https://github.com/containers/buildah/blob/main/docs/buildah-build.1.md, --isolation
        settings = {"BUILDAH_ISOLATION": "chroot"}
        return kept | settings | {"CONTAINERS_STORAGE_CONF": str(self.folder / "storage.conf")}

    def prepare(self) -> None:
        """Make the storage: https://github.com/containers/storage/blob/main/docs/containers-storage.conf.5.md."""
        self.folder.mkdir(parents=True, exist_ok=True)
        places = {name: str(self.folder / name) for name in ("graphroot", "runroot")}
        lines = [f'{name} = "{path}"' for name, path in ({"driver": "vfs"} | places).items()]
        (self.folder / "storage.conf").write_text("\n".join(["[storage]", *lines, ""]))

    def build(self) -> None:
        """Make the image from the sources, with what `make image` is documented to take."""
        given = os.environ.get(IMAGE_ARGS)
        bases = [] if given else [f"BUILDER={BASE}", f"RUNTIME={BASE}"]
        if given is None:
            self.call(str(ROOT / ".ci" / "base"), BASE)
            given = shlex.join(["--network", "host", *pip_settings(self.folder)])
        self.call(
            *("make", "--directory", str(ROOT), "image", "ENGINE=buildah", f"IMAGE={IMAGE}"),
            *(*bases, *VERSION_ARGS, f"IMAGE_ARGS={given}"),
        )

    def call(self, *command: str) -> str:
        """Run a command of the build, and return what it prints."""
        done = subprocess.run(
            command, env=self.environ, capture_output=True, text=True, timeout=600
        )
        assert done.returncode == 0, f"{shlex.join(command)}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def config(self) -> dict[str, Any]:
        """https://github.com/opencontainers/image-spec/blob/main/config.md of the image."""
        document = json.loads(self.call("buildah", "inspect", "--type", "image", IMAGE))
        config: dict[str, Any] = document["OCIv1"]["config"]
        return config

    def layers(self) -> list[Path]:
        """The image's layers as a registry would get them, compressed, from the lowest up."""
        layout = self.folder / "layout"
        self.call("buildah", "push", "--quiet", IMAGE, f"oci:{layout}:test")
        command = ("skopeo", "inspect", "--raw", f"oci:{layout}:test")
        manifest = json.loads(self.call(*command))
        blobs = layout / "blobs" / "sha256"
        return [blobs / layer["digest"].removeprefix("sha256:") for layer in manifest["layers"]]


@contextmanager
def shared(folder: Path) -> Iterator[Engine]:
    """An engine that has built the image once, for all the processes that test side by side.

    The last of them removes it all: it is large, and folders of earlier runs are kept for a while.
    """
    engine = Engine(folder)
    lock = folder.with_suffix(".lock")
    with folder.with_suffix(".users").open("w") as users:
        fcntl.flock(users, fcntl.LOCK_SH)
        with lock.open("w") as waiting:
            fcntl.flock(waiting, fcntl.LOCK_EX)
            if not (folder / "built").exists():
                engine.prepare()
                engine.build()
                (folder / "built").touch()
        yield engine
        try:
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        shutil.rmtree(folder)


def pip_settings(folder: Path) -> list[str]:
    """Mounts that let pip in the build reach packages as pip on this machine does.

    It may have a mirror, a proxy, and a certificate authority of its own; none of that is known
    here, and none of it gets into a layer.
    """
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    )
    # From the most general place to the environment, each stronger than the one before.
    actual: dict[str, str] = {}
    for name, value in re.findall(r"^(?::env:|\w+)\.([\w-]+)=('.*'|\".*\")$", listed.stdout, re.M):
        actual[name] = ast.literal_eval(value)
    names = ("index-url", "extra-index-url", "trusted-host", "proxy", "timeout")
    settings = {name: actual[name] for name in names if "file:" not in actual.get(name, "file:")}
    mounts = []
    authorities = actual.get("cert") or os.environ.get("SSL_CERT_FILE")
    if authorities and Path(authorities).exists():
        settings["cert"] = "/run/host/ca.crt"
        mounts = ["--volume", f"{authorities}:/run/host/ca.crt:ro"]
    config = folder / "pip.conf"
    config.touch(mode=0o600)
    lines = [f"{name} = {' '.join(text.split())}" for name, text in settings.items()]
    config.write_text("\n".join(["[global]", *lines, ""]))
    return [*mounts, "--volume", f"{config}:/etc/pip.conf:ro"]


@dataclass(frozen=True, slots=True)
class Container:
    """A container of the image; several programs may run in it."""

    engine: Engine
    name: str
    root: Path
    entrypoint: list[str]
    environ: Mapping[str, str] = field(default_factory=dict)
    """The image's own."""

    def run(
        self,
        *arguments: str,
        env: Mapping[str, str] | None = None,
        mounts: Mapping[Path, str] | None = None,
        workdir: str = "/",
        entrypoint: list[str] | None = None,
    ) -> Finished:
        """Run the image's program with buildah, as the image's user, on the machine's network."""
        options = ["--network", "host", "--workingdir", workdir]
        options += [f"--env={name}={text}" for name, text in (env or {}).items()]
        options += [f"--volume={source}:{target}:rw" for source, target in (mounts or {}).items()]
        program = [*(entrypoint or self.entrypoint), *arguments]
        done = self._run(["buildah", "run", *options, self.name, "--", *program])
        # buildah's own last words, when the program did not return 0.
        err = re.sub(r"(?:subprocess exited with status \d+\n)*Error: exit.*\n\Z", "", done.err)
        return Finished(done.code, done.out, err)

    def read_only(
        self,
        *arguments: str,
        env: Mapping[str, str] | None = None,
        mounts: Mapping[Path, str] | None = None,
        workdir: str = "/",
        user: int = 65532,
        entrypoint: list[str] | None = None,
    ) -> Finished:
        """Run the image's program as a user who owns nothing, on a root nobody can write to."""
        command = self.read_only_command(
            *arguments, mounts=mounts, workdir=workdir, user=user, entrypoint=entrypoint
        )
        return self._run(command, {**self.environ, **(env or {})})

    def read_only_command(
        self,
        *arguments: str,
        mounts: Mapping[Path, str] | None = None,
        workdir: str = "/",
        user: int = 65532,
        entrypoint: list[str] | None = None,
    ) -> list[str]:
        """The command of `read_only`; its process is that of the program."""
        pairs = {Path("/dev"): "/dev", Path("/proc"): "/proc", **(mounts or {})}
        flat = []
        for source, target in pairs.items():
            within = self.root / target.removeprefix("/")
            within.parent.mkdir(parents=True, exist_ok=True)
            within.mkdir(exist_ok=True) if source.is_dir() else within.touch()
            flat += [str(source), target]
        program = [*(entrypoint or self.entrypoint), *arguments]
        place = [str(self.root), workdir, *flat, "--"]
        script = ["/bin/sh", "-euc", _READ_ONLY, str(user)]
        return ["unshare", "--mount", "--", *script, *place, *program]

    def _run(self, command: list[str], environ: Mapping[str, str] | None = None) -> Finished:
        done = subprocess.run(
            command,
            env=self.engine.environ if environ is None else environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
        )
        return Finished(done.returncode, done.stdout, done.stderr)
