"""Requests from browsers: origins, hosts, CSRF protection and security headers."""

import re

import httpx
import pytest
from starlette.datastructures import Headers
from structlog.testing import capture_logs

from graph.http.origins import SECURITY_HEADERS, Origins
from graph.protocol.errors import RequestError
from graph.settings import Mode, Settings
from tests.support.client import Client, count, serving

sqlite = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
CREATE = 'mutation { createUser(input: {username: "ada", email: "a@b.example"}) { user { id } } }'
OWN = "http://127.0.0.1:8000"
APP = "https://app.example"
REQUEST = {"query": "{ __typename }"}


def code(response: httpx.Response) -> str:
    [error] = response.json()["errors"]
    return str(error["extensions"]["code"])


@sqlite
@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "null", "", OWN + "1", "http://localhost:8000", "http://[", "//"],
)
@pytest.mark.parametrize("accept", ["application/json", "text/event-stream"])
async def test_request_from_another_origin_is_rejected(
    client: Client, origin: str, accept: str
) -> None:
    headers = {"origin": origin, "accept": accept, "apollo-require-preflight": "1"}
    for response in (
        await client.http.post("/graphql", json={"query": CREATE}, headers=headers),
        await client.http.get("/graphql", params=REQUEST, headers=headers),
    ):
        assert (response.status_code, code(response)) == (403, "CROSS_ORIGIN")
        assert "access-control-allow-origin" not in response.headers
    assert await count(client.database) == (0, 0)


@sqlite
@pytest.mark.parametrize("site", ["cross-site", "same-site", "nonsense"])
async def test_cross_site_get_without_a_preflight_header_is_rejected(
    client: Client, site: str
) -> None:
    headers = {"sec-fetch-site": site}
    response = await client.http.get("/graphql", params=REQUEST, headers=headers)
    assert (response.status_code, code(response)) == (403, "CSRF_PREVENTION")
    for name in ("apollo-require-preflight", "x-apollo-operation-name"):
        named = await client.http.get("/graphql", params=REQUEST, headers=headers | {name: "x"})
        assert named.status_code == 200
        empty = await client.http.get("/graphql", params=REQUEST, headers=headers | {name: ""})
        assert empty.status_code == 403


@sqlite
@pytest.mark.parametrize("site", ["same-origin", "none", None])
async def test_same_origin_request_is_accepted(client: Client, site: str | None) -> None:
    headers = {"origin": OWN} | ({"sec-fetch-site": site} if site else {})
    assert (await client.http.post("/graphql", json=REQUEST, headers=headers)).status_code == 200
    del headers["origin"]  # as in a GET request
    assert (await client.http.get("/graphql", params=REQUEST, headers=headers)).status_code == 200


@sqlite
@pytest.mark.parametrize(
    "host", ["evil.example:8000", "evil.example", "", "127.0.0.1.evil.example", "[::2]:8000"]
)
async def test_request_for_another_host_is_rejected(client: Client, host: str) -> None:
    for headers in ({}, {"accept": "text/html"}):
        for path in ("/graphql", "/", "/graphiql/style.css"):
            response = await client.http.get(path, headers={"host": host, **headers})
            assert (response.status_code, code(response)) == (421, "WRONG_HOST"), path
    for path in ("/health/live", "/health/ready"):  # load balancers use any host name
        assert (await client.http.get(path, headers={"host": host})).status_code == 200


@sqlite
@pytest.mark.parametrize(
    "host", ["localhost", "LocalHost:1", "127.0.0.1:8000", "[::1]", "[::1]:8000", "localhost.:8000"]
)
async def test_every_name_of_the_local_machine_is_accepted(client: Client, host: str) -> None:
    headers = {"host": host, "origin": f"http://{host}"}
    assert (await client.http.post("/graphql", json=REQUEST, headers=headers)).status_code == 200


@sqlite
async def test_listening_address_and_allowed_hosts_are_accepted(database_url: str) -> None:
    settings = Settings(database_url=database_url, host="127.0.0.2", allowed_hosts=["Roster.test"])
    async with serving(settings) as client:
        for host in ("127.0.0.2:8000", "roster.test"):
            response = await client.http.post("/graphql", json=REQUEST, headers={"host": host})
            assert response.status_code == 200


def test_without_allowed_hosts_any_host_is_accepted_but_not_a_null_origin() -> None:
    origins = Origins(None, frozenset({APP}))
    for given in ({"host": "any"}, {}, {"host": "x", "origin": "https://X"}, {"origin": APP}):
        origins.check(Headers(given))
    with pytest.raises(RequestError):
        origins.check(Headers({"origin": "null"}))


@pytest.mark.parametrize(
    ("origin", "host", "same"),
    [
        ("https://roster.test", "roster.test:443", True),
        ("https://roster.test:443", "roster.test", True),
        ("http://roster.test", "ROSTER.test:80", True),
        ("https://[::1]", "[::1]:443", True),
        ("https://roster.test:8443", "roster.test:8443", True),
        ("https://roster.test:8443", "roster.test", False),
        ("https://roster.test", "roster.test:80", False),
        ("http://roster.test", "roster.test:443", False),
        ("https://:443", "", False),
    ],
)
def test_default_port_of_the_scheme_is_ignored_in_origin_checks(
    origin: str, host: str, *, same: bool
) -> None:
    origins = Origins(None, frozenset())
    if same:
        origins.check(Headers({"origin": origin, "host": host}))
        return
    with pytest.raises(RequestError) as caught:
        origins.check(Headers({"origin": origin, "host": host}))
    assert caught.value.code == "CROSS_ORIGIN"


VITE = "http://localhost:5173"
HINT = (
    f"A page of {VITE} was rejected. Start Roster with ROSTER_CORS_ORIGINS={APP},{VITE} to allow "
    "it. If a proxy such as Vite's passes its requests on, `changeOrigin: false` works without it."
)


@sqlite
async def test_development_server_names_the_setting_that_allows_a_page(database_url: str) -> None:
    settings = Settings(database_url=database_url, cors_origins=[APP])
    preflight = {"access-control-request-method": "POST"}
    with capture_logs() as log:
        async with serving(settings) as client:
            for answer, status in (
                (await client.http.post("/graphql", json=REQUEST, headers={"origin": VITE}), 403),
                (
                    await client.http.options("/graphql", headers={"origin": VITE, **preflight}),
                    400,
                ),
            ):
                [error] = answer.json()["errors"]
                assert (answer.status_code, error["message"]) == (status, HINT)
                assert error["extensions"]["code"] == "CROSS_ORIGIN"
    lines = [line for line in log if line["log_level"] == "warning"]
    assert lines == [{"event": HINT, "host": "127.0.0.1:8000", "log_level": "warning"}]


@sqlite
async def test_development_server_explains_preflights_without_allowed_origins(
    client: Client,
) -> None:
    preflight = {"access-control-request-method": "POST", "origin": VITE}
    answer = await client.http.options("/graphql", headers=preflight)
    [error] = answer.json()["errors"]
    assert answer.status_code == 400
    assert f"ROSTER_CORS_ORIGINS={VITE} " in error["message"]
    assert "access-control-allow-origin" not in answer.headers


@sqlite
async def test_development_server_names_the_setting_that_allows_a_host(
    client: Client,
) -> None:
    with capture_logs() as log:
        for _ in range(2):
            answer = await client.http.post(
                "/graphql", json=REQUEST, headers={"host": "192.168.1.5:5173"}
            )
    [error] = answer.json()["errors"]
    message = (
        "A request for the host 192.168.1.5 was rejected. Start Roster with "
        "ROSTER_ALLOWED_HOSTS=192.168.1.5 to allow it."
    )
    assert (answer.status_code, error["message"]) == (421, message)
    assert log == [{"event": message, "log_level": "warning"}]


@sqlite
@pytest.mark.parametrize("origin", ["null", "", "http://[", "http://a.example\tx", "x" * 5000])
async def test_origin_that_is_none_is_not_repeated(client: Client, origin: str) -> None:
    with capture_logs() as log:
        answer = await client.http.post("/graphql", json=REQUEST, headers={"origin": origin})
    [error] = answer.json()["errors"]
    message = "A page without an origin was rejected: open it from a server, not from a file."
    assert (answer.status_code, error["message"]) == (403, message)
    assert log == [{"event": message, "log_level": "warning"}]


@sqlite
async def test_hints_do_not_fill_the_log(client: Client) -> None:
    with capture_logs() as log:
        for port in range(1, 202):
            headers = {"origin": f"http://localhost:{port}"}
            await client.http.post("/graphql", json=REQUEST, headers=headers)
    assert len(log) == 100


@sqlite
async def test_production_gives_no_hints(database_url: str) -> None:
    settings = Settings(database_url=database_url, mode=Mode.PRODUCTION, auth_api_keys=True)
    with capture_logs() as log:
        async with serving(settings) as client:
            headers = {"origin": VITE}
            answer = await client.http.post("/graphql", json=REQUEST, headers=headers)
            preflight = {**headers, "access-control-request-method": "POST"}
            assert (await client.http.options("/graphql", headers=preflight)).status_code == 405
    [error] = answer.json()["errors"]
    assert error["message"] == (
        "Pages of this origin are not allowed. ROSTER_CORS_ORIGINS lists those that are."
    )
    assert [line for line in log if "rejected" in line["event"]] == []


@sqlite
@pytest.mark.parametrize(
    ("host", "origin", "status"),
    [
        ("localhost:5173", VITE, 200),  # Vite's proxy with `changeOrigin: false`, the default
        ("127.0.0.1:8000", VITE, 403),  # `changeOrigin: true`
        ("127.0.0.1:8000", OWN, 200),  # `rewriteWsOrigin: true` as well
    ],
)
async def test_proxy_of_vite_is_accepted_if_host_and_origin_match(
    client: Client, host: str, origin: str, status: int
) -> None:
    headers = {"host": host, "origin": origin, "sec-fetch-site": "same-origin"}
    answer = await client.http.post("/graphql", json=REQUEST, headers=headers)
    assert answer.status_code == status
    del headers["origin"]  # browsers send no origin with a GET of the same site
    answer = await client.http.get("/graphql", params=REQUEST, headers=headers)
    assert answer.status_code == 200


@sqlite
async def test_every_response_has_the_security_headers(client: Client) -> None:
    http = client.http
    answers = {
        "answer": await http.post("/graphql", json=REQUEST),
        "stream": await http.post(
            "/graphql", json=REQUEST, headers={"accept": "text/event-stream"}
        ),
        "bad": await http.post("/graphql", content="x"),
        "method": await http.delete("/graphql"),
        "host": await http.get("/graphql", headers={"host": "evil.example"}),
        "nothing": await http.get("/nothing"),
        "redirect": await http.get("/"),
        "health": await http.get("/health/live"),
        "health method": await http.post("/health/live"),
        "page": await http.get("/graphql", headers={"accept": "text/html"}),
        "file": await http.get("/graphiql/style.css"),
        "no file": await http.get("/graphiql/../../x"),
    }
    for name, answer in answers.items():
        for header, value in SECURITY_HEADERS.items():
            own = name == "page" and header == "content-security-policy"
            assert (answer.headers[header] == value) is not own, (name, header)
        assert re.fullmatch("[0-9a-f]{32}", answer.headers["x-request-id"])
        assert "strict-transport-security" not in answer.headers


@sqlite
async def test_production_serves_no_graphiql_and_sends_hsts(database_url: str) -> None:
    settings = Settings(database_url=database_url, mode=Mode.PRODUCTION, auth_api_keys=True)
    async with serving(settings) as client:
        browser = {"accept": "text/html, */*;q=0.8"}
        page = await client.http.get("/graphql", params=REQUEST, headers=browser)
        assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert "GraphiQL is available on development servers only." in page.text
        assert "<script" not in page.text
        wrong = browser | {"authorization": "Bearer wrong"}
        refused = await client.http.get("/graphql", params=REQUEST, headers=wrong)
        assert (refused.status_code, code(refused)) == (401, "UNAUTHENTICATED")
        for path in ("/", "/graphiql/style.css"):
            assert (await client.http.get(path)).status_code == 404
        graphql = await client.http.post("/graphql", json=REQUEST)
        assert (graphql.status_code, code(graphql)) == (401, "UNAUTHENTICATED")
        for answer in (page, graphql):
            assert answer.headers["strict-transport-security"].startswith("max-age=31536000")
