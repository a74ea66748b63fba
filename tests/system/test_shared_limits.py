"""Rate limits that processes share by a real Redis."""

import json
import re
import shlex
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from graph.limits.storage import StorageUnusableError, check_storage
from graph.settings import Settings
from tests.support.background import begin, end, wait_until_listening
from tests.support.client import Client, serving
from tests.support.process import free_port, http_client, run, serving_process
from tests.support.redis import RedisServer, redis_server
from tests.support.tls import Authority

ROOT = Path(__file__).parents[2]
USERS = {"query": "{ users { totalCount } }"}
WRONG = {"authorization": "Bearer roster_wrong"}
sqlite = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)


@pytest.fixture
async def redis() -> AsyncIterator[RedisServer]:
    async with redis_server() as server:
        yield server


@asynccontextmanager
async def two_servers(url: str, storage: str) -> AsyncIterator[list[Client]]:
    given = Settings(
        database_url=url,
        rate_limit="6/hour",
        rate_limit_storage=SecretStr(storage),
        rate_limit_storage_timeout=10,
    )
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(serving(given)) for _ in range(2)]


async def ask(http: httpx.AsyncClient, **headers: str) -> tuple[int, str | None]:
    """Returns the status, and how many requests are left."""
    response = await http.post("/graphql", json=USERS, headers=headers)
    left = re.fullmatch(r'"caller";r=(\d+);t=\d+', response.headers.get("ratelimit", ""))
    return response.status_code, left and left[1]


@sqlite
async def test_servers_share_the_rate_of_a_caller(database_url: str, redis: RedisServer) -> None:
    async with two_servers(database_url, redis.url) as clients:
        answers = [await ask(clients[n % 2].http) for n in range(8)]
    assert answers == [(200, str(n)) for n in (5, 4, 3, 2, 1, 0)] + [(429, "0")] * 2


@sqlite
async def test_servers_share_the_rate_of_invalid_tokens(
    database_url: str, redis: RedisServer
) -> None:
    async with two_servers(database_url, redis.url) as clients:
        one, two = (client.http for client in clients)
        assert [await ask(one, **WRONG) for _ in range(7)] == [(401, None)] * 6 + [(429, None)]
        # The second server learns it from the answer to its first failure.
        assert [await ask(two, **WRONG) for _ in range(3)] == [(401, None)] + [(429, None)] * 2


@sqlite
async def test_servers_without_their_storage_start_and_count_alone(
    database_url: str, tmp_path: Path
) -> None:
    async with two_servers(database_url, f"redis+unix://{tmp_path}/nothing") as clients:
        for client in clients:
            statuses = [(await ask(client.http))[0] for _ in range(7)]
            assert statuses == [200] * 6 + [429]
            assert client.app.state.rate_limiter.shared.local_hits == 7


@sqlite
async def test_keys_expire_and_contain_no_personal_data(
    database_url: str, redis: RedisServer
) -> None:
    async with two_servers(database_url, redis.url) as [client, _]:
        await ask(client.http)
        await ask(client.http, **WRONG)
        keys = await redis.keys()
        expiries = [await redis.client.ttl(key) for key in keys]
    digest = "[0-9a-f]{32}"
    patterns = [
        rf"roster:\{{LIMITER/caller/{digest}/6/1/hour\}}",
        rf"roster:\{{LIMITER/invalid token/{digest}/6/1/hour\}}",
    ]
    # Those of the probes at the start of a server expire after two seconds.
    probes = r"roster:\{LIMITER/probe/[12]/1000000000/1/second\}"
    counts = [key for key in keys if not re.fullmatch(probes, key)]
    assert len(counts) == len(patterns)
    assert all(re.fullmatch(p, key) for p, key in zip(patterns, counts, strict=True)), keys
    assert -1 not in expiries  # a key that does not expire
    assert max(expiries) <= 7200


def documented_acl(user: str) -> list[str]:
    """Returns the command of docs/operations.md, for another user."""
    text = (ROOT / "docs/operations.md").read_text().replace("\\\n", " ")
    [command] = [line for line in text.splitlines() if line.startswith("redis-cli ")]
    return [user if word == "roster" else word for word in shlex.split(command)[1:]]


async def test_documented_privileges_suffice(redis: RedisServer) -> None:
    await redis.command(*documented_acl("least"))
    url = f"redis+unix://least:password@{redis.socket}?db=1"
    await redis.client.script_flush()  # so that the script has to be loaded
    assert await check_storage(url) == redis.socket
    await redis.command("ACL", "SETUSER", "least", "-incrby")
    with pytest.raises(StorageUnusableError, match=r"can't run this command|has no permissions"):
        await check_storage(url)


@sqlite
async def test_worker_processes_share_the_rate(
    database_url: str, redis: RedisServer, tmp_path: Path
) -> None:
    settings = {
        "ROSTER_DATABASE_URL": database_url,
        "ROSTER_RATE_LIMIT": "20/hour",
        "ROSTER_RATE_LIMIT_STORAGE": redis.url,
        "ROSTER_RATE_LIMIT_STORAGE_TIMEOUT": "10",
        "ROSTER_WORKERS": "2",
    }
    async with serving_process(tmp_path, **settings) as (_, url):
        statuses = []
        for _ in range(30):
            async with http_client(url) as http:  # a new connection, to any of the workers
                statuses.append((await ask(http))[0])
    assert statuses == [200] * 20 + [429] * 10


async def rate_limit_check(url: str, tmp_path: Path, rate: str = "6/hour") -> dict[str, Any]:
    settings = {"ROSTER_RATE_LIMIT_STORAGE": url, "ROSTER_RATE_LIMIT": rate}
    _, output = await run("check", "--json", cwd=tmp_path, **settings)
    assert "s3cret" not in output
    [found] = [c for c in json.loads(output)["checks"] if c["name"] == "rate-limit-storage"]
    return dict(found)


async def test_check_tells_whether_the_storage_can_be_used(
    redis: RedisServer, tmp_path: Path
) -> None:
    assert await rate_limit_check(redis.url, tmp_path) == {
        "name": "rate-limit-storage",
        "status": "ok",
        "detail": f"requests are counted by {redis.socket}",
        "fix": None,
    }
    assert await rate_limit_check(redis.url, tmp_path, "off") == {
        "name": "rate-limit-storage",
        "status": "warning",
        "detail": f"nothing is counted by {redis.socket}: ROSTER_RATE_LIMIT is off",
        "fix": "set it to a rate such as 6000/minute",
    }
    assert await rate_limit_check(f"redis+unix://u:s3cret@{redis.socket}", tmp_path) == {
        "name": "rate-limit-storage",
        "status": "failed",
        "detail": f"{redis.socket}: invalid username-password pair or user is disabled.",
        "fix": "correct it or the URL: until then each process counts alone",
    }


async def test_cluster_is_rejected() -> None:
    ports = ("--port", str(free_port()), "--cluster-port", str(free_port()))
    async with redis_server(*ports, "--bind", "127.0.0.1", "--cluster-enabled", "yes") as redis:
        await redis.command("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
        with pytest.raises(StorageUnusableError, match="don't hash to the same slot"):
            await check_storage(redis.url)


async def test_password_that_a_server_repeats_is_not_in_the_reason() -> None:
    async with redis_server("--rename-command", "AUTH", "") as redis:
        with pytest.raises(StorageUnusableError) as caught:
            await check_storage(f"redis+unix://u:s3cret@{redis.socket}")
        assert str(caught.value) == f"{redis.socket}: unknown command 'AUTH'"


async def test_tls_verifies_the_certificate_and_its_name(tmp_path: Path) -> None:
    authority, other = Authority(tmp_path), Authority(tmp_path, "other")
    certificate, key, _ = authority.issue("server", "localhost")
    port = free_port()
    files = ("--tls-cert-file", str(certificate), "--tls-key-file", str(key))
    options = ("--tls-port", str(port), *files, "--tls-auth-clients", "no", "--bind", "127.0.0.1")
    async with redis_server(*options):
        trusted, unknown = (f"?ssl_ca_certs={ca.root}" for ca in (authority, other))
        url = f"rediss://localhost:{port}/0"
        assert await check_storage(url + trusted) == f"localhost:{port}"
        for wrong in (url, url + unknown, url.replace("localhost", "127.0.0.1") + trusted):
            with pytest.raises(StorageUnusableError, match="CERTIFICATE_VERIFY_FAILED"):
                await check_storage(wrong)


@asynccontextmanager
async def sentinel(folder: Path, primary: str) -> AsyncIterator[int]:
    """Run a sentinel of the service `main`. Both have the password `s3cret`."""
    port, log = free_port(), folder / "log"
    configuration = folder / "sentinel.conf"
    configuration.write_text(
        f"port {port}\nbind 127.0.0.1\nrequirepass s3cret\n"
        f"sentinel monitor main 127.0.0.1 {primary} 1\nsentinel auth-pass main s3cret\n"
    )
    process = await begin(log, "redis-server", str(configuration), "--sentinel")
    try:
        await wait_until_listening(process, port, log)
        yield port
    finally:
        await end(process)


async def test_sentinel_names_the_primary_if_those_before_it_are_lost(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        frozen = stack.enter_context(socket.create_server(("127.0.0.1", 0)))  # accepts nothing
        primary = str(free_port())
        options = ("--port", primary, "--bind", "127.0.0.1")
        redis = await stack.enter_async_context(redis_server(*options))
        await redis.command("CONFIG", "SET", "requirepass", "s3cret")
        port = await stack.enter_async_context(sentinel(tmp_path, primary))
        ports = (free_port(), frozen.getsockname()[1], port)
        hosts = ",".join(f"127.0.0.1:{each}" for each in ports)
        address = f"redis+sentinel://:s3cret@{hosts}/main"
        assert await check_storage(address) == f"main of the sentinels {hosts}"
        assert "cmdstat_evalsha" in await redis.client.info("commandstats")  # it has counted
        wrong = f"redis+sentinel://:other@127.0.0.1:{port}/main"
        with pytest.raises(StorageUnusableError) as caught:
            await check_storage(wrong)
        assert str(caught.value) == (
            f"main of the sentinels 127.0.0.1:{port}: "
            f"No master found for 'main' : 127.0.0.1:{port} auth:AuthenticationError"
        )
