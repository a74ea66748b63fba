"""Metrics of the keys that issuers publish."""

import pytest
from prometheus_client import CollectorRegistry

from graph.app import PATH
from graph.metrics.observer import Metrics
from graph.settings import Settings
from tests.graph.metrics.test_metrics import QUERY, until
from tests.support.client import serving
from tests.support.signing import RSA, TRUSTED, jwk, key_server, token

AGE, FAILURES = "roster_issuer_keys_age_seconds", "roster_issuer_keys_failures_total"
BEARER = {"authorization": f"Bearer {token(headers={'kid': 'key'})}"}
ERROR = b"HTTP/1.1 500 Error\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
async def test_age_of_keys_and_failed_fetches_are_measured(database_url: str) -> None:
    async with key_server(jwk(RSA, "key")) as keys:
        settings = Settings(
            database_url=database_url,
            **TRUSTED,
            auth_jwks_url=keys.url,
        )
        registry = CollectorRegistry()
        async with serving(settings, [Metrics(registry, PATH)]) as client:
            await client.http.post("/graphql", json=QUERY, headers=BEARER)
            found = await until(registry, AGE, None)
            assert 0 < found.total(AGE, host="127.0.0.1") < 60
            assert found.total(FAILURES) == 0
        keys.answer = ERROR
        registry = CollectorRegistry()
        async with serving(settings, [Metrics(registry, PATH)]) as client:
            await client.http.post("/graphql", json=QUERY, headers=BEARER)
            found = await until(registry, FAILURES, 1)
            assert found.labels(FAILURES, "host") == {"127.0.0.1"}
            assert AGE not in found.names
