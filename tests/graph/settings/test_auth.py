"""Settings of issuers, identities and API keys."""

import json
from pathlib import Path

import pytest

from graph.environment import InvalidSettings
from graph.settings import load

ONE = {"ISSUER": "https://id.example", "AUDIENCE": "roster", "SECRET": "s3cret" * 6}
LISTED = {"issuer": "https://other.example", "audience": "roster", "jwks_url": "https://o.example"}


def test_single_issuer_and_issuer_list_are_combined(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in ONE.items():
        monkeypatch.setenv(f"ROSTER_AUTH_{name}", value)
    monkeypatch.setenv("ROSTER_AUTH_ALGORITHMS", "HS256, HS384")
    with pytest.raises(InvalidSettings) as caught:
        load()
    assert str(caught.value) == "ROSTER_AUTH_SECRET: the secret needs at least 48 bytes"
    monkeypatch.setenv("ROSTER_AUTH_SECRET", "s3cret" * 8)
    monkeypatch.setenv("ROSTER_AUTH_ISSUERS", json.dumps([LISTED | {"leeway": 0}]))
    monkeypatch.setenv("ROSTER_MODE", "production")
    monkeypatch.setenv("ROSTER_HOST", "0.0.0.0")  # noqa: S104 - production listens anywhere
    other, one = load().issuers()
    assert (other.issuer, other.leeway, other.accepted()) == (
        "https://other.example",
        0,
        ("RS256", "ES256", "EdDSA", "PS256"),
    )
    assert (one.issuer, one.leeway, one.accepted()) == (
        "https://id.example",
        30,
        ("HS256", "HS384"),
    )
    assert "s3cret" not in repr(load())


def test_services_can_be_disabled_per_issuer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in ONE.items():
        monkeypatch.setenv(f"ROSTER_AUTH_{name}", value)
    others = [LISTED, LISTED | {"issuer": "https://third.example", "services": False}]
    monkeypatch.setenv("ROSTER_AUTH_ISSUERS", json.dumps(others))
    assert [issuer.services for issuer in load().issuers()] == [True, False, True]
    for given, expected in (("", True), ("true", True), ("false", False)):
        monkeypatch.setenv("ROSTER_AUTH_SERVICES", given)
        assert [issuer.services for issuer in load().issuers()] == [True, False, expected]


@pytest.mark.parametrize(
    ("secret", "expected"), [(None, None), ("", None), ("s3cret" * 6, b"s3cret" * 6)]
)
def test_identity_secret_is_read_from_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, secret: str | None, expected: bytes | None
) -> None:
    monkeypatch.chdir(tmp_path)
    if secret is not None:
        (tmp_path / ".env").write_text(f"ROSTER_IDENTITY_SECRET={secret}\n")
    settings = load()
    assert settings.database().session().info == {
        "identity_secret": expected,
        "erasure_ledger": None,
    }
    assert "s3cret" not in repr(settings)


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        (
            {"AUDIENCE": None},
            "ROSTER_AUTH_AUDIENCE: is missing, and ROSTER_AUTH_ISSUER needs it",
        ),
        ({"ISSUER": None}, "ROSTER_AUTH_ISSUER: is missing, and ROSTER_AUTH_AUDIENCE needs it"),
        ({"SECRET": None}, "ROSTER_AUTH_ISSUER: an issuer needs exactly one of"),
        ({"JWKS_URL": "https://id.example"}, "ROSTER_AUTH_SECRET: an issuer needs exactly one of"),
        ({"SECRET": "s3cret"}, "ROSTER_AUTH_SECRET: the secret needs at least 32 bytes"),
        ({"ALGORITHMS": "none"}, "ROSTER_AUTH_ALGORITHMS: the algorithms of this key can be HS256"),
        ({"ALGORITHMS": "RS256"}, "ROSTER_AUTH_ALGORITHMS: the algorithms of this key can be HS2"),
        ({"ALGORITHMS": "s3cret"}, "ROSTER_AUTH_ALGORITHMS: the algorithms of this key can be HS2"),
        ({"LEEWAY": "-1"}, "ROSTER_AUTH_LEEWAY: Input should be greater than or equal to 0"),
        ({"LEEWAY": "nan"}, "ROSTER_AUTH_LEEWAY: Input should be less than or equal to 300"),
        ({"LEEWAY": "30s"}, "ROSTER_AUTH_LEEWAY: Input should be a valid number"),
        *(
            ({"SECRET": None, "JWKS_URL": url}, "ROSTER_AUTH_JWKS_URL: a URL is in ASCII")
            for url in ("https://s3cret.example/a b", "https://s3cr\u00e9t.example", "https://a\nb")
        ),
        *(
            ({"SECRET": None, "JWKS_URL": url}, "ROSTER_AUTH_JWKS_URL: keys come over https")
            for url in (
                "http://id.s3cret",
                "file:///s3cret",
                "https://u:s3cret@h/",
                "https://",
                "http://127.0.0.1.s3cret/",
                "https://[::s3cret",
            )
        ),
        (
            {"SECRET": None, "JWKS_URL": "https://id.example", "ALGORITHMS": "RS256,HS256"},
            "ROSTER_AUTH_ALGORITHMS: the algorithms of this key can be RS256",
        ),
        (
            {"SECRET": None, "PUBLIC_KEY": "s3cret"},
            "ROSTER_AUTH_PUBLIC_KEY: the public_key is no PEM of a public key",
        ),
        (
            {"ISSUERS": json.dumps([LISTED, LISTED])},
            "ROSTER_AUTH_ISSUERS: lists the same issuer twice",
        ),
        (
            {"ISSUERS": json.dumps([LISTED | {"issuer": ONE["ISSUER"]}])},
            "ROSTER_AUTH_ISSUER: is listed in ROSTER_AUTH_ISSUERS, too",
        ),
        (
            {"ISSUERS": json.dumps([LISTED | {"jwks_url": "http://s3cret"}])},
            "ROSTER_AUTH_ISSUERS[0].jwks_url: keys come over https",
        ),
        (
            {"ISSUERS": json.dumps([LISTED | {"secrets": "s3cret"}])},
            "ROSTER_AUTH_ISSUERS[0].secrets: Extra inputs are not permitted",
        ),
        (
            {"ISSUERS": json.dumps([LISTED, {"issuer": "s3cret", "audience": "a", "secret": "b"}])},
            "ROSTER_AUTH_ISSUERS[1].secret: the secret needs at least 32 bytes",
        ),
        (
            {"ISSUERS": json.dumps([LISTED | {"jwks_url": None, "public_key": "s3cret"}])},
            "ROSTER_AUTH_ISSUERS[0].public_key: the public_key is no PEM",
        ),
        (
            {"ISSUERS": json.dumps([LISTED])[:-3] + ', "issuer": "s3cret"}]'},
            "ROSTER_AUTH_ISSUERS: must be a JSON list of objects",
        ),
        (
            {"ISSUERS": '[{"secret": "a", "secret": "s3cret"}]'},
            "ROSTER_AUTH_ISSUERS: must be a JSON list of objects, in which each key occurs once",
        ),
    ],
)
def test_invalid_issuer_is_reported_in_one_line_without_its_value(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: dict[str, str | None], line: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in (ONE | changed).items():
        if value is not None:
            monkeypatch.setenv(f"ROSTER_AUTH_{name}", value)
    with pytest.raises(InvalidSettings) as caught:
        load()
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(("keys", "starts"), [("true", 1), ("false", 0), (None, 0)])
def test_production_without_an_issuer_requires_explicit_api_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keys: str | None, starts: int
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ROSTER_MODE", "production")
    if keys is not None:
        monkeypatch.setenv("ROSTER_AUTH_API_KEYS", keys)
    if starts:
        assert load().issuers() == ()
        return
    with pytest.raises(InvalidSettings, match="production requires authentication"):
        load()
