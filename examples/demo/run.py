"""A tour of binauthz-attest in under a minute, on this machine, without a cloud project.

Libraries are imported where they are used, so that the first attestation does not wait for them.
Exits with 1 when anything does not go as the tour says, so that it is also a test.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import secrets
import shlex
import shutil
import subprocess
import sys
import tarfile
import textwrap
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

SOURCE = Path(__file__).resolve().parents[2]
SEED = Path(__file__).with_name("seed.yaml")
IMAGE = "registry.example.com/shop/web"
CI_ATTESTOR = "projects/demo/attestors/built-by-ci"
CI_NOTE = "projects/demo/notes/built-by-ci"
RELEASE_ATTESTOR = "projects/demo/attestors/approved-for-release"
RELEASE_TEAM = "Release team <release@example.com>"
VISIBILITY_DELAY = "1s"
# For what takes about a second (a start) or the delay above (a list), on a machine under load.
PATIENCE_SECONDS = 30.0
# What a CI sets would have the demo write to its files and use its accounts.
NOT_PASSED_ON = ("BINAUTHZ_", "INPUT_", "GITHUB_", "CI", "BUILD", "GITLAB_", "GOOGLE_", "CLOUDSDK_")


class Surprise(Exception):
    """Something did not go as the tour says."""


@dataclass(frozen=True, slots=True)
class Run:
    """What a command printed, and the calls it made, each as `method status`."""

    output: str
    calls: tuple[str, ...]
    created: int


@dataclass(frozen=True, slots=True)
class Shell:
    """Runs binauthz-attest in the demo's folder, against its emulator."""

    folder: Path
    emulator: str
    environ: dict[str, str]

    def run(self, *arguments: str, expect: int, says: str) -> Run:
        """Show a command, its output as it comes and its exit code; Surprise if they are others."""
        show_command(["binauthz-attest", *arguments])
        before = len(self.log())
        process = subprocess.Popen(
            [sys.executable, "-m", "step", *arguments],
            cwd=self.folder,
            env=self.environ | {"BINAUTHZ_EMULATOR_HOST": self.emulator},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        lines = []
        with process:
            for line in process.stdout or ():
                lines.append(line)
                print(f"  {line}", end="", flush=True)
        print(f"  (exit code {process.returncode})\n")
        output = "".join(lines)
        if process.returncode != expect:
            raise Surprise(f"exit code {process.returncode} where {expect} was expected")
        if says not in output:
            raise Surprise(f"the output should say {says!r}")
        log = self.log()[before:]
        calls = tuple(f"{call['method']} {call['status']}" for call in log)
        return Run(output, calls, sum("CreateOccurrence" in call for call in calls))

    def log(self) -> list[dict[str, str]]:
        """Every call that the emulator has answered so far."""
        lines = (self.folder / "calls.jsonl").read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines]


def main() -> int:
    """Give the tour; 0 if it went as told."""
    try:
        with ExitStack() as stack:
            tour(stack)
    except Surprise as surprise:
        print(f"\nThe demo did not go as it should: {surprise}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def tour(stack: ExitStack) -> None:
    """Every step, in order; what it needs is taken away again by `stack`."""
    folder = Path(stack.enter_context(TemporaryDirectory(prefix="binauthz-")))
    environ = {k: v for k, v in os.environ.items() if not k.startswith(NOT_PASSED_ON)}
    # Where this program is found, and its lines as they come.
    environ |= {"PYTHONPATH": str(SOURCE), "PYTHONUNBUFFERED": "1"}
    say(
        "Binary Authorization is a guard at the door of a Google Cloud cluster: it lets a "
        "container image in only if people you trust have signed for it. Who is trusted is "
        "called an attestor. What they sign is an attestation: 'this exact image, with this "
        "digest, was built by our CI'. binauthz-attest makes attestations, and returns when the "
        "guard can see them. This tour stays on your machine: an emulator plays Google Cloud."
    )

    title("1. Start the emulator, with two attestors")
    pgp_options = make_pgp_key(folder, stack)  # the seed names its public half
    shell = Shell(folder, stack.enter_context(emulator(folder, environ)), environ)
    say(
        "built-by-ci trusts a key in Cloud KMS, which never leaves there. approved-for-release "
        "trusts the PGP key of the release team. As in the real service, a new attestation takes "
        f"a while to be listed: here, {VISIBILITY_DELAY}."
    )

    title("2. A build has just pushed an image")
    say(
        "The build tool leaves a record of what it pushed. docker buildx writes it with "
        "--metadata-file, and docker/build-push-action passes it on. The digest in it names these "
        "very bytes; a tag like :v1 could mean others tomorrow."
    )
    image = build(folder / "build.json", b"print('hello from the shop')\n", "v1")
    show_command(["cat", "build.json"])
    print(textwrap.indent((folder / "build.json").read_text(encoding="utf-8"), "  ") + "\n")

    attest_with_kms(shell)
    attest_with_pgp(shell, pgp_options)
    attest_again(shell)
    attack(shell, image)

    title("That was it")
    creations = [call for call in shell.log() if call["method"] == "CreateOccurrence"]
    say(
        f"{len(creations)} attestations were stored: yours for each of two attestors, and the "
        "attacker's, which counts for nothing. In a pipeline it is one step after the build; "
        "README.md shows it for GitHub Actions, Cloud Build and others, and docs/exit-codes.md "
        "says what each exit code means. Everything this tour made is removed now."
    )


def attest_with_kms(shell: Shell) -> None:
    """Attest with the key in Cloud KMS, and see the wait."""
    title("3. Attest it with the key in Cloud KMS")
    say(
        "One command: read the record, sign, have the signature checked by Binary Authorization, "
        "store it, and wait until it can be read back and verified. Without the wait, a deployment "
        "right after this step could still be denied."
    )
    run = shell.run(
        *("attest", "--from-file", "build.json", "--attestor", CI_ATTESTOR),
        *("--output-file", "receipt.json"),
        expect=0,
        says="waiting until the attestation can be read back",
    )
    if not (run.created == 1 and f"created {IMAGE}@" in run.output):
        raise Surprise("one attestation should have been created")


def attest_with_pgp(shell: Shell, options: list[str]) -> None:
    """Attest with the release team's key."""
    title("4. Attest it with the release team's PGP key")
    say(
        "A cluster can ask for several attestors. The key is read from a file, as a mounted "
        "secret would be; the command line names the files and never holds a secret."
    )
    run = shell.run(
        *("attest", "--from-file", "build.json", "--attestor", RELEASE_ATTESTOR, *options),
        expect=0,
        says=f"created {IMAGE}@",
    )
    if run.created != 1:
        raise Surprise("one attestation should have been created")


def attest_again(shell: Shell) -> None:
    """Run the same once more: nothing is written."""
    title("5. Run it again")
    say(
        "A pipeline may be run twice. An attestation that is there and verifies under the same key "
        "is reused: the emulator's call log shows that this run created nothing. It asked for a "
        "signature while it looked, so that a first run is faster, and threw that away."
    )
    run = shell.run(
        *("attest", "--from-file", "build.json", "--attestor", CI_ATTESTOR),
        expect=0,
        says=f"existing {IMAGE}@",
    )
    print(textwrap.indent("\n".join(("calls:", *run.calls, "")), "  "))
    if run.created or "ValidateAttestationOccurrence OK" in run.calls:
        raise Surprise("the second run should have created nothing")


def attack(shell: Shell, image: str) -> None:
    """Forge an attestation, use a key nobody trusts, and move a signature: nothing of it counts."""
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    backdoored = build(shell.folder / "backdoored.json", b"print('all your cards')\n", "v1")
    intruder = ec.generate_private_key(ec.SECP256R1())
    # As openssl would write it, without a passphrase.
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    pem = intruder.private_bytes(encoding, form, serialization.NoEncryption())
    write_secret(shell.folder / "intruder.pem", pem.decode())
    [receipt] = json.loads((shell.folder / "receipt.json").read_text(encoding="utf-8"))["receipts"]
    key_id = receipt["public_key_id"]
    on_backdoored = ("attest", "--from-file", "backdoored.json", "--attestor", CI_ATTESTOR)

    title("6. An attacker forges an attestation")
    say(
        "Somebody who may store attestations, but may not use your keys, pushes a backdoored image "
        "and stores an attestation for it. It carries your key's id, and a signature made with "
        "another key. Is the image attested now? --dry-run asks, and creates nothing."
    )
    payload = base64.b64decode(receipt["payload"]).decode()
    payload = payload.replace(receipt["digest"], backdoored.partition("@")[2])
    signature = intruder.sign(payload.encode(), ec.ECDSA(hashes.SHA256()))
    plant(shell.emulator, backdoored, payload.encode(), key_id, signature)
    print(f"  (the forged attestation is stored and listed for {backdoored})\n")
    run = shell.run(*on_backdoored, "--dry-run", expect=0, says=f"dry-run {IMAGE}@")
    if run.created or "existing" in run.output:
        raise Surprise("a forged attestation was taken for a true one")
    say(
        "It is not: a true attestation would be reported as 'existing', as in step 5. The forged "
        "one was found, its signature does not verify, and so it does not count."
    )

    title("7. The attacker signs with a key of their own")
    say("Only keys that the attestor lists count: this stops before anything is signed.")
    own_key = shell.run(
        *on_backdoored, "--pkix-key-file", "intruder.pem", expect=3, says="does not list"
    )

    title("8. The attacker reuses the signature of the good image")
    say(
        "It is a true signature by the right key. But what was signed is the digest of the good "
        f"image, {image.partition('@')[2][:19]}..., and not that of the backdoored one."
    )
    (shell.folder / "stolen.sig").write_bytes(base64.b64decode(receipt["signature"]))
    stolen = ("--signature-file", "stolen.sig", "--public-key-id", key_id)
    reused = shell.run(*on_backdoored, *stolen, expect=3, says="does not verify")
    if own_key.created or reused.created:
        raise Surprise("an attestation was created that does not verify")
    say("Exit code 3: the answer is no. Nothing was created, and trying again is pointless.")


@contextmanager
def emulator(folder: Path, environ: dict[str, str]) -> Iterator[str]:
    """An emulator as a process of its own, for as long as it is used; its `host:port`."""
    shutil.copy(SEED, folder / SEED.name)
    arguments = [
        *("emulator", "--seed", SEED.name, "--visibility-delay", VISIBILITY_DELAY),
        *("--ready-file", "ready.json", "--call-log", "calls.jsonl"),
    ]
    show_command(["binauthz-attest", *arguments, "&"])
    with (folder / "emulator.txt").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "step", *arguments],
            cwd=folder,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield address(folder, process)
    finally:
        process.terminate()
        process.wait()


def address(folder: Path, process: subprocess.Popen[bytes]) -> str:
    """Wait until the emulator answers; its `host:port`."""
    ready = folder / "ready.json"
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not ready.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            said = (folder / "emulator.txt").read_text(encoding="utf-8")
            raise Surprise(f"the emulator did not start: {said}")
        time.sleep(0.05)
    host_and_port: str = json.loads(ready.read_text(encoding="utf-8"))["grpc"]
    print(f"$ export BINAUTHZ_EMULATOR_HOST={host_and_port}\n")
    return host_and_port


def build(record: Path, program: bytes, tag: str) -> str:
    """Put an image together, and write the record that docker buildx would; its name by digest.

    The record's form: https://docs.docker.com/reference/cli/docker/buildx/build/#metadata-file;
    the image's: https://github.com/opencontainers/image-spec/blob/main/manifest.md.
    """
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as layer:
        entry = tarfile.TarInfo("app.py")
        entry.size = len(program)
        layer.addfile(entry, io.BytesIO(program))
    oci = "application/vnd.oci.image"
    layers = descriptor(f"{oci}.layer.v1.tar", packed.getvalue())
    rootfs = {"type": "layers", "diff_ids": [layers["digest"]]}
    settings = {"Cmd": ["python3", "app.py"]}
    config = {"architecture": "amd64", "os": "linux", "config": settings, "rootfs": rootfs}
    configured = descriptor(f"{oci}.config.v1+json", json.dumps(config).encode())
    kind = f"{oci}.manifest.v1+json"
    manifest = {"schemaVersion": 2, "mediaType": kind, "config": configured, "layers": [layers]}
    pushed = descriptor(kind, json.dumps(manifest).encode())
    written = {
        "containerimage.config.digest": configured["digest"],
        "containerimage.descriptor": pushed,
        "containerimage.digest": pushed["digest"],
        "image.name": f"{IMAGE}:{tag}",
    }
    record.write_text(json.dumps(written, indent=2), encoding="utf-8")
    return f"{IMAGE}@{pushed['digest']}"


def descriptor(kind: str, content: bytes) -> dict[str, str | int]:
    """What OCI calls content by: https://github.com/opencontainers/image-spec/blob/main/descriptor.md."""
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    return {"mediaType": kind, "digest": digest, "size": len(content)}


def make_pgp_key(folder: Path, stack: ExitStack) -> list[str]:
    """Make the release team's key, and return the options that name its files."""
    secret, public = folder / "release-team.asc", folder / "release-team.pub.asc"
    passphrase = folder / "passphrase"
    write_secret(passphrase, secrets.token_urlsafe(16))
    made = gpg_key(folder / "gnupg", passphrase, stack) if shutil.which("gpg") else None
    if made:
        say("The release team's PGP key is made by gpg, with a passphrase.")
        private_half, public_half = made
    else:
        import pysequoia

        say("The release team's PGP key has no passphrase: gpg is missing or cannot make one.")
        key = pysequoia.Tsk.generate(RELEASE_TEAM)
        private_half, public_half = str(key), str(key.extract_certificate())
    write_secret(secret, private_half)
    public.write_text(public_half, encoding="utf-8")
    locked = ["--pgp-passphrase-file", passphrase.name] if made else []
    return ["--pgp-key-file", secret.name, *locked]


def gpg_key(home: Path, passphrase: Path, stack: ExitStack) -> tuple[str, str] | None:
    """Both halves of a key that gpg makes; None where it cannot, for want of its agent perhaps."""
    home.mkdir(mode=0o700)
    at_home = ["--homedir", str(home)]
    unlocked = ["--batch", "--pinentry-mode", "loopback", "--passphrase-file", str(passphrase)]

    def gpg(*arguments: str) -> str:
        command = ["gpg", *at_home, *unlocked, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def end_agent() -> None:
        # Where gpgconf is missing, the agent ends by itself when its folder is gone.
        with suppress(FileNotFoundError):
            subprocess.run(["gpgconf", *at_home, "--kill", "all"], check=False)

    stack.callback(end_agent)
    with suppress(subprocess.CalledProcessError):
        gpg("--quick-generate-key", RELEASE_TEAM, "ed25519", "sign", "never")
        return gpg("--armor", "--export-secret-keys"), gpg("--armor", "--export")
    return None


def write_secret(path: Path, text: str) -> None:
    """Write a file that only its owner may read."""
    path.touch(mode=0o600)
    path.write_text(text, encoding="utf-8")


def plant(address: str, image: str, payload: bytes, key_id: str, signature: bytes) -> None:
    """Store an attestation, and wait until it is listed.

    As an attacker would: with Google's own client, and without any of this program's checks.
    """
    import grpc
    from grafeas import grafeas_v1
    from grafeas.grafeas_v1.services.grafeas.transports import GrafeasGrpcTransport

    # The emulator is on this machine, whatever proxy the environment names.
    with grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        transport = GrafeasGrpcTransport(host=address, channel=channel)
        client = grafeas_v1.GrafeasClient(transport=transport)
        forged = grafeas_v1.Occurrence(
            resource_uri=f"https://{image}",
            note_name=CI_NOTE,
            kind=grafeas_v1.NoteKind.ATTESTATION,
            attestation=grafeas_v1.AttestationOccurrence(
                serialized_payload=payload,
                signatures=[grafeas_v1.Signature(public_key_id=key_id, signature=signature)],
            ),
        )
        stored = client.create_occurrence(parent="projects/demo", occurrence=forged)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while all(one.name != stored.name for one in client.list_note_occurrences(name=CI_NOTE)):
            if time.monotonic() > deadline:
                raise Surprise("the forged attestation was never listed")
            time.sleep(0.2)


def title(text: str) -> None:
    """Begin a step."""
    print(f"{text}\n{'=' * len(text)}", flush=True)


def say(text: str) -> None:
    """Tell something, in plain words."""
    print(f"{textwrap.fill(text, 88)}\n", flush=True)


def show_command(command: list[str]) -> None:
    """Show a command line as it could be typed, one option a line where it is long."""
    line = shlex.join(command).replace(" '&'", " &")
    print("$ " + (line if len(line) <= 88 else line.replace(" --", " \\\n    --")), flush=True)


if __name__ == "__main__":
    sys.exit(main())
