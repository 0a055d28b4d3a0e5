"""A real registry, and images that a real build tool builds and pushes to it."""

from __future__ import annotations

import hashlib
import http.client
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

LOGIN = "ci:correct horse"
# Made with: htpasswd -nbB -C 5 ci 'correct horse'
USERS = "ci:$2y$05$binauthzattestregistru6WBSYlHtzfhDeJK9OFO8x6cozTFn.hO\n"

_START_SECONDS = 20.0
# https://github.com/opencontainers/image-spec/blob/main/media-types.md; without naming the index,
# an old registry would answer with one platform's manifest.
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"


@dataclass(frozen=True, slots=True)
class Served:
    """A manifest as the registry serves it; `claimed` is the digest that its header states."""

    body: bytes
    kind: str
    claimed: str

    @property
    def digest(self) -> str:
        """What the bytes themselves have for a digest."""
        return f"sha256:{hashlib.sha256(self.body).hexdigest()}"


@dataclass(frozen=True, slots=True)
class Registry:
    """A registry on loopback, without TLS."""

    address: str

    def manifest(self, repository: str, reference: str, method: str = "GET") -> Served:
        """Fetch a manifest or an index by tag or digest."""
        connection = http.client.HTTPConnection(self.address, timeout=10)
        try:
            accept = {"Accept": f"{INDEX}, {MANIFEST}"}
            connection.request(method, f"/v2/{repository}/manifests/{reference}", headers=accept)
            answer = connection.getresponse()
            body = answer.read()
        finally:
            connection.close()
        assert answer.status == 200, answer.reason
        claimed = answer.headers["Docker-Content-Digest"]
        return Served(body, answer.headers["Content-Type"], claimed)


@contextmanager
def serve(program: str, folder: Path, users: str = "") -> Iterator[Registry]:
    """Run `docker-registry` on a free port, its storage in the folder.

    With `users`, the lines of a password file, it wants a name and a password.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = folder / "config.yml"
    config.write_text(
        "version: 0.1\n"
        f"storage: {{filesystem: {{rootdirectory: {folder / 'storage'}}}}}\n"
        f"http: {{addr: '127.0.0.1:{port}'}}\n"
        + (f"auth: {{htpasswd: {{realm: tests, path: {folder / 'users'}}}}}\n" if users else "")
    )
    (folder / "users").write_text(users)
    said = folder / "registry.txt"
    with said.open("w") as output:
        process = subprocess.Popen([program, "serve", config], stdout=output, stderr=output)
    try:
        deadline = time.monotonic() + _START_SECONDS
        while not _answers(port):
            assert process.poll() is None, said.read_text()
            assert time.monotonic() < deadline, said.read_text()
            time.sleep(0.02)
        yield Registry(f"localhost:{port}")
    finally:
        process.terminate()
        process.wait()


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


class CannotBuild(Exception):
    """What buildah said where it does not run: for want of user namespaces, for example."""


@dataclass(frozen=True, slots=True)
class Pushed:
    """What a build left behind: the image's name, its tag, and the file that holds its digest."""

    name: str
    tag: str
    digest_file: Path

    @property
    def repository(self) -> str:
        """The name within its registry."""
        return self.name.partition("/")[2]

    @property
    def digest(self) -> str:
        """As the build tool wrote it."""
        return self.digest_file.read_text()

    @property
    def image(self) -> str:
        """The name by digest."""
        return f"{self.name}@{self.digest}"


@dataclass(frozen=True, slots=True)
class Builder:
    """buildah with a storage of its own, so that nothing of the machine is used or changed."""

    program: str
    folder: Path
    registry: Registry
    login: str = ""
    """`name:password`, where the registry wants them."""

    def push_image(self, repository: str, tag: str, content: str) -> Pushed:
        """Build an image that holds one file, and push it."""
        local = self._build(repository, tag, content)
        pushed = self._pushed(repository, tag)
        self._run("push", *self._options(pushed), local, f"docker://{pushed.name}:{tag}")
        return pushed

    def push_index(self, repository: str, tag: str, content: str, *platforms: str) -> Pushed:
        """Build an image for several architectures, and push their index and all of them."""
        index = f"localhost/{repository}:{tag}"
        self._run("manifest", "create", index)
        for platform in platforms:
            local = self._build(repository, f"{tag}-{platform}", content, "--arch", platform)
            self._run("manifest", "add", index, local)
        pushed = self._pushed(repository, tag)
        options = ("--all", *self._options(pushed))
        self._run("manifest", "push", *options, index, f"docker://{pushed.name}:{tag}")
        return pushed

    def _build(self, repository: str, tag: str, content: str, *options: str) -> str:
        context = self.folder / tag
        context.mkdir()
        (context / "content").write_text(content)
        (context / "Dockerfile").write_text("FROM scratch\nCOPY content /content\n")
        local = f"localhost/{repository}:{tag}"
        self._run("bud", "--isolation", "chroot", *options, "--tag", local, str(context))
        return local

    def _pushed(self, repository: str, tag: str) -> Pushed:
        return Pushed(f"{self.registry.address}/{repository}", tag, self.folder / f"{tag}.digest")

    def _options(self, pushed: Pushed) -> tuple[str, ...]:
        login = ("--creds", self.login) if self.login else ()
        return "--tls-verify=false", "--digestfile", str(pushed.digest_file), *login

    def _run(self, *arguments: str) -> None:
        root, run = str(self.folder / "root"), str(self.folder / "run")
        command = [self.program, "--root", root, "--runroot", run, "--storage-driver", "vfs"]
        done = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=120)
        if done.returncode:
            raise CannotBuild(f"buildah {arguments[0]}: {done.stderr.strip()}")
