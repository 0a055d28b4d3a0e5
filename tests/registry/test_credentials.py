"""docker's configuration, credential helpers, and what is found for which host."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import step.registry.credentials
from step.errors import BadInput, NotAllowed, StepError
from step.registry.credentials import (
    Credential,
    IdentityToken,
    Keychain,
    Login,
    RegistryToken,
    is_google,
)

HUB_KEY = "https://index.docker.io/v1/"
LOGIN = {"username": "ci", "password": "secret"}
Helper = Callable[..., dict[str, str]]


def auth(text: str) -> dict[str, str]:
    return {"auth": base64.b64encode(text.encode()).decode()}


def find(host: str, **config: Any) -> Credential | None:
    return Keychain(json.dumps(config)).find(host)


@pytest.fixture
def helper(tmp_path: Path) -> Helper:
    """Install a credential helper, and give the environment that it is found in."""

    def install(script: str, name: str = "safe") -> dict[str, str]:
        program = tmp_path / f"docker-credential-{name}"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        return {"PATH": f"{tmp_path}:{os.environ['PATH']}"}

    return install


def ask(environ: dict[str, str], host: str = "r.example", **config: Any) -> Credential | None:
    text = json.dumps(config or {"credsStore": "safe"})
    return Keychain(text, environ=environ).find(host)


@pytest.mark.parametrize(
    ("entry", "wanted"),
    [
        (LOGIN, Login("ci", "secret")),
        (auth("ci:secret"), Login("ci", "secret")),
        (auth("ci:se:cr:et"), Login("ci", "se:cr:et")),
        (auth("ci:secret\0\0"), Login("ci", "secret")),
        (auth("cï:sécret"), Login("cï", "sécret")),
        ({**auth("ci:"), "identitytoken": "t"}, IdentityToken("t")),
        ({"registrytoken": "r", "identitytoken": "t", **LOGIN}, RegistryToken("r")),
        ({}, None),
        (None, None),
        ({"auth": "", "email": "a@b.example"}, None),
        ({"password": "alone"}, None),
    ],
)
def test_every_form_of_an_entry_is_read(entry: Any, wanted: Credential | None) -> None:
    assert find("r.example", auths={"r.example": entry}) == wanted


@pytest.mark.parametrize(
    "entry",
    [
        7,
        "ci:secret",
        [LOGIN],
        {"auth": 7},
        {"auth": "%%"},
        {"auth": "ü"},
        auth("secret"),
        auth(":x"),
    ],
)
def test_an_entry_that_cannot_be_read_is_bad_input(entry: Any) -> None:
    with pytest.raises(BadInput, match=r"entry for r\.example .* cannot be read") as caught:
        find("r.example", auths={"r.example": entry})
    assert "secret" not in caught.value.message + caught.value.hint
    assert find("other.example", auths={"r.example": entry, "other.example": LOGIN})


@pytest.mark.parametrize(
    ("key", "host"),
    [
        ("r.example", "r.example"),
        ("R.example", "r.EXAMPLE"),
        ("https://r.example", "r.example"),
        ("http://r.example/", "r.example"),
        ("https://r.example/v1/", "r.example"),
        ("https://r.example/v2", "r.example"),
        ("localhost:5000", "localhost:5000"),
        *(
            (key, host)
            for key in (HUB_KEY, "docker.io", "https://registry-1.docker.io/v2/")
            for host in ("docker.io", "index.docker.io")
        ),
    ],
)
def test_every_spelling_of_a_host_is_found(key: str, host: str) -> None:
    assert find(host, auths={key: LOGIN}) == Login("ci", "secret")


@pytest.mark.parametrize(
    ("key", "host"),
    [
        ("r.example", "a.r.example"),
        ("r.example:5000", "r.example"),
        ("r.example", "r.example:5000"),
        ("r.example/team", "r.example"),
        ("https://a/r.example", "r.example"),
        (HUB_KEY, "hub.docker.io"),
        ("", "r.example"),
    ],
)
def test_another_host_is_another_host(key: str, host: str) -> None:
    assert find(host, auths={key: LOGIN}) is None


def test_a_host_under_its_own_name_comes_first() -> None:
    other = {"username": "other", "password": "x"}
    actual = find("r.example", auths={"https://r.example/v1/": other, "r.example": LOGIN})
    assert actual == Login("ci", "secret")


@pytest.mark.parametrize("text", [None, "", "  \n", "{}", '{"auths": null, "credHelpers": {}}'])
def test_nothing_configured_is_anonymous(text: str | None) -> None:
    assert Keychain(text).find("r.example") is None


@pytest.mark.parametrize(
    "text",
    ["{", "[]", "null", '"secret"', '{"auths": ["secret"]}', '{"credHelpers": 7}', "[" * 99_999],
)
def test_a_configuration_that_is_none_is_bad_input(text: str) -> None:
    with pytest.raises(BadInput, match=r"docker's config\.json") as caught:
        Keychain(text)
    assert "secret" not in caught.value.message + caught.value.hint


SECTIONS = st.dictionaries(
    st.sampled_from(["r.example", "https://r.example/v1/", "auth", "identitytoken"]),
    st.recursive(
        st.none() | st.integers() | st.text(max_size=9),
        lambda inner: st.dictionaries(
            st.sampled_from(["auth", "username", "password", "identitytoken"]), inner, max_size=3
        ),
    ),
    max_size=3,
)


@given(
    st.text()
    | st.builds(json.dumps, st.dictionaries(st.sampled_from(["auths", "credHelpers"]), SECTIONS))
)
def test_any_text_is_a_keychain_or_bad_input(text: str) -> None:
    with suppress(BadInput):
        actual = Keychain(text, environ={"PATH": ""}).find("r.example")
        assert actual is None or isinstance(actual, Login | IdentityToken)


def test_a_helper_is_asked_on_its_standard_input(helper: Helper, tmp_path: Path) -> None:
    environ = helper(
        f'cat > {tmp_path}/stdin; echo "$*" > {tmp_path}/argv; env > {tmp_path}/environment\n'
        'echo \'{"ServerURL": "", "Username": "ci", "Secret": "secret"}\''
    )
    environ |= {"BINAUTHZ_PGP_PRIVATE_KEY": "ours", "INPUT_X": "ours", "THEIRS": "yes"}
    assert ask(environ) == Login("ci", "secret")
    assert (tmp_path / "stdin").read_text() == "r.example"
    assert (tmp_path / "argv").read_text() == "get\n"
    given = (tmp_path / "environment").read_text()
    assert "THEIRS=yes" in given
    assert "ours" not in given
    for host in ("docker.io", "registry-1.docker.io"):
        ask(environ, host)
        assert (tmp_path / "stdin").read_text() == HUB_KEY


def test_a_user_name_that_is_no_name_marks_an_identity_token(helper: Helper) -> None:
    environ = helper('echo \'{"Username": "<token>", "Secret": "refresh"}\'')
    assert ask(environ) == IdentityToken("refresh")


def test_a_helper_that_has_nothing_means_anonymous(helper: Helper) -> None:
    environ = helper("echo credentials not found in native keychain; exit 1")
    assert ask(environ) is None
    assert ask(helper('echo \'{"Username": "", "Secret": ""}\'')) is None


def test_the_helper_of_a_host_comes_before_the_store_and_the_store_before_the_file(
    helper: Helper,
) -> None:
    helper('echo \'{"Username": "helper", "Secret": "x"}\'', "one")
    environ = helper('echo \'{"Username": "store", "Secret": "x"}\'', "all")
    config: dict[str, Any] = {"auths": {"r.example": LOGIN, "s.example": LOGIN}}
    assert ask(environ, **config) == Login("ci", "secret")
    config["credsStore"] = "all"
    assert ask(environ, **config) == Login("store", "x")
    config["credHelpers"] = {"r.example": "one", "t.example": ""}
    assert ask(environ, **config) == Login("helper", "x")
    assert ask(environ, "s.example", **config) == Login("store", "x")
    assert ask(environ, "t.example", **config) is None


@pytest.mark.parametrize("name", ["../evil", "a b", "a;b", "$(a)", "a/b", 7, ["a"], "ü"])
def test_a_helper_with_no_name_for_one_is_not_started(name: Any) -> None:
    with pytest.raises(BadInput, match="names a credential helper that cannot be one"):
        find("r.example", credsStore=name)


def test_a_helper_that_is_not_installed_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"docker-credential-safe, .* is not installed"):
        ask({"PATH": str(tmp_path)})


def test_a_helper_that_cannot_be_run_is_bad_input(helper: Helper, tmp_path: Path) -> None:
    environ = helper("")
    (tmp_path / "docker-credential-safe").write_bytes(b"\x7fELF no program")
    with pytest.raises(BadInput, match="docker-credential-safe cannot be run"):
        ask(environ)


@pytest.mark.parametrize(
    "said", ["hush", "{", "[]", '{"Username": "ci"}', '{"Username": 7, "Secret": "hush"}']
)
def test_a_helper_that_answers_nonsense_is_not_quoted(helper: Helper, said: str) -> None:
    for script, wanted in (
        (f"echo '{said}'", "did not answer with"),
        (f"echo '{said}'; exit 3", "status 3"),
    ):
        with pytest.raises(NotAllowed, match=wanted) as caught:
            ask(helper(script))
        assert "hush" not in caught.value.message + caught.value.hint


def test_a_helper_that_hangs_is_left(helper: Helper, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step.registry.credentials, "HELPER_SECONDS", 0.05)
    with pytest.raises(NotAllowed, match="docker-credential-safe did not answer within"):
        ask(helper("exec sleep 1000"))  # much longer than this test may take


def test_a_helper_whose_own_child_hangs_is_left_too(
    helper: Helper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step.registry.credentials, "HELPER_SECONDS", 0.05)
    with pytest.raises(NotAllowed, match="docker-credential-safe did not answer within"):
        ask(helper("sleep 5; echo '{}'"))
    with pytest.raises(NotAllowed, match="docker-credential-safe did not answer within"):
        ask(helper("exec >&-; exec sleep 1000"))


def test_a_helper_that_prints_without_end_is_left(helper: Helper) -> None:
    with pytest.raises(NotAllowed, match="did not answer with a user name and a secret"):
        ask(helper("exec yes hush"))


def test_a_helper_that_does_not_read_may_still_answer(helper: Helper) -> None:
    said = '{"Username": "ci", "Secret": "%s"}' % ("s" * 100_000)
    environ = helper(f"exec <&-; echo warning >&2; printf '%s' '{said}'")
    assert ask(environ) == Login("ci", "s" * 100_000)


@pytest.mark.parametrize("name", ["username", "password", "identitytoken"])
def test_half_a_character_is_no_credential(helper: Helper, name: str) -> None:
    """JSON can escape it, and nothing can send it."""
    with pytest.raises(BadInput, match=r"the entry for r\.example in docker's config"):
        find("r.example", auths={"r.example": LOGIN | {name: "\ud800"}})
    with pytest.raises(NotAllowed, match="did not answer with a user name and a secret"):
        ask(helper('echo \'{"Username": "ci", "Secret": "\\\\ud800"}\''))


@pytest.mark.parametrize("given", ["DOCKER_CONFIG", "HOME"])
def test_the_configuration_is_read_where_docker_has_it(tmp_path: Path, given: str) -> None:
    folder = tmp_path if given == "DOCKER_CONFIG" else tmp_path / ".docker"
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"auths": {"r.example": LOGIN}}))
    environ = {"HOME": "/nowhere", given: str(tmp_path)}
    assert Keychain.load(environ).find("r.example") == Login("ci", "secret")


@pytest.mark.parametrize("environ", [{}, {"HOME": ""}, {"HOME": "/nowhere"}])
def test_without_a_configuration_it_is_anonymous(environ: dict[str, str]) -> None:
    assert Keychain.load(environ).find("r.example") is None


def test_a_configuration_that_cannot_be_read_is_bad_input(tmp_path: Path) -> None:
    (tmp_path / "config.json").mkdir()
    with pytest.raises(BadInput, match="cannot be read: Is a directory"):
        Keychain.load({"DOCKER_CONFIG": str(tmp_path)})
    large = tmp_path / "large"
    large.mkdir()
    (large / "config.json").write_bytes(b" " * ((1 << 20) + 1))
    with pytest.raises(BadInput, match="larger than 1048576 bytes"):
        Keychain.load({"DOCKER_CONFIG": str(large)})


def test_docker_comes_before_google() -> None:
    def google() -> str:
        return "ya29.token"

    keys = Keychain(json.dumps({"auths": {"gcr.io": LOGIN}}), google=google)
    assert keys.find("gcr.io") == Login("ci", "secret")
    assert keys.find("eu.gcr.io") == Login("oauth2accesstoken", "ya29.token")
    assert keys.find("r.example") is None
    assert Keychain(google=lambda: None).find("gcr.io") is None


@given(st.sampled_from(["gcr.io", "pkg.dev"]), st.from_regex(r"[a-z0-9.-]{0,8}", fullmatch=True))
def test_only_hosts_of_googles_are_googles(domain: str, before: str) -> None:
    assert is_google(before + domain) == (before.endswith(".") or before + domain == "gcr.io")
    assert not is_google(f"{domain}.{before}x")


@pytest.mark.parametrize(
    "value", [Login("ci", "hidden"), IdentityToken("hidden"), RegistryToken("hidden")]
)
def test_no_credential_shows_its_secret(value: Credential) -> None:
    assert "hidden" not in f"{value!r} {value}"


def test_a_failing_account_is_not_taken_for_none() -> None:
    def google() -> str:
        raise NotAllowed("the Google Cloud credentials were refused")

    with pytest.raises(StepError, match="were refused"):
        Keychain(google=google).find("gcr.io")
