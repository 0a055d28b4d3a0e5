"""An account of Google Cloud, as far as a server of access tokens knows it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from step.model.keys import Algorithm
from tests.keys import make_private_key, private_pem


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[..., None]]:
    """Be a service account whose token server answers so; with a token unless said otherwise."""
    with ExitStack() as running:

        def be(status: int = 200, **answer: Any) -> None:
            token = {"access_token": "token", "expires_in": 3600}
            uri = running.enter_context(token_server(status, answer or token))
            path = credentials_file(tmp_path, uri)
            monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", path)

        yield be


@contextmanager
def token_server(status: int, answer: dict[str, Any]) -> Iterator[str]:
    """A server of access tokens on loopback, as https://www.rfc-editor.org/rfc/rfc6749 has it."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            body = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/token"
        finally:
            server.shutdown()
            thread.join()


def credentials_file(folder: Path, token_uri: str) -> str:
    """A service account's key file, with a key that was made for this test."""
    path = folder / "credentials.json"
    content = {
        "type": "service_account",
        "project_id": "my-project",
        "private_key_id": "1",
        "private_key": private_pem(make_private_key(Algorithm.RSA_SIGN_PKCS1_2048_SHA256)).decode(),
        "client_email": "builder@my-project.iam.gserviceaccount.com",
        "token_uri": token_uri,
    }
    path.write_text(json.dumps(content))
    return str(path)
