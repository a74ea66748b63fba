"""TLS to PostgreSQL, as configured by the parameters of a database URL."""

import os
from pathlib import Path

import pytest

from tests.support.process import run
from tests.support.tls import Authority

PASSWORD = "s3cr3t pass&word"  # noqa: S105 - of the test's own key


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder without the certificates of the current user."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in [name for name in os.environ if name.startswith("PG")]:
        monkeypatch.delenv(name)
    return tmp_path


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


async def test_unusable_client_key_is_reported_before_the_start(
    authority: Authority, tmp_path: Path
) -> None:
    certificate, key, _ = authority.issue("a client", password=PASSWORD)
    other, _, _ = authority.issue("another")
    for shown in (f"sslcert={certificate}&sslkey={key}", f"sslcert={other}&sslkey={key}"):
        for word in ("", "&sslpassword=s3cr3t"):
            url = f"postgresql://u@h/d?{shown.replace(' ', '%20')}{word}"
            code, output = await run("serve", cwd=tmp_path, ROSTER_DATABASE_URL=url)
            assert code == 1
            assert output.startswith(
                "roster: ROSTER_DATABASE_URL: in the database URL sslcert must be a PEM file, with "
                "its key in sslkey and the password of that in sslpassword\n"
            )
