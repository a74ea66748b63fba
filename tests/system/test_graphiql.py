"""GraphiQL in Chromium, as a developer uses it."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, WebSocket, expect

from tests.support.chromium import browser, closing_contexts
from tests.support.process import http_client, serving_process
from tests.support.signing import ISS, RSA, pem, token
from users.policy import Scope

pytestmark = [pytest.mark.chromium, pytest.mark.asyncio(loop_scope="session")]
__all__ = ["browser"]  # a fixture
AXE = Path(__file__).parents[2] / "graph" / "graphiql" / "node_modules" / "axe-core" / "axe.min.js"
ISSUER = {
    "ROSTER_AUTH_ISSUER": ISS,
    "ROSTER_AUTH_AUDIENCE": "roster",
    "ROSTER_AUTH_PUBLIC_KEY": pem(RSA),
}
CREATE = "mutation ($input: CreateUserInput!) { createUser(input: $input) { user { id } } }"
RENAME = "mutation ($input: UpsertUserInput!) { upsertUser(input: $input) { errors { message } } }"
TAKEN = """mutation { createUser(input: {username: "mia", email: "new@example.com"}) {
  user { id } errors { code message path } } }"""
LIVE = "subscription { userEvents { type } }"
VIEWER = "{ viewer { username viewerCan } }"
RUN = "Execute query (Ctrl-Enter)"


@dataclass
class GraphiQL:
    """A page of GraphiQL, and what it has contacted and printed."""

    page: Page
    url: str
    hosts: set[str] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)
    sent: list[str] = field(default_factory=list)  # over WebSocket

    def watch(self) -> None:
        self.page.on("request", lambda request: self.hosts.add(urlsplit(request.url).netloc))
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on(
            "console",
            lambda message: (
                self.problems.append(message.text) if message.type in {"error", "warning"} else None
            ),
        )
        self.page.on("websocket", self._record)

    def _record(self, socket: WebSocket) -> None:
        self.hosts.add(urlsplit(socket.url).netloc)
        socket.on("framesent", lambda frame: self.sent.append(str(frame)))

    async def open(self, query: str = "") -> None:
        await self.page.goto(f"{self.url}/graphql{query}")
        await expect(self.page.locator(".graphiql-query-editor .view-lines")).to_be_visible()

    async def paste(self, text: str, editor: str = "Operation Editor") -> None:
        """Replaces the text of an editor."""
        region = self.page.get_by_role("region", name=editor, exact=True)
        await region.get_by_role("textbox").focus()
        await self.page.evaluate("text => navigator.clipboard.writeText(text)", text)
        await self.page.keyboard.press("Control+A")
        await self.page.keyboard.press("Control+V")
        # The browser pastes asynchronously. A longer line is wrapped.
        await expect(region.locator(".graphiql-editor:not(.hidden) .view-lines")).to_contain_text(
            text.splitlines()[0][:40].strip()
        )

    async def sign_in(self, credentials: str) -> None:
        await self.page.get_by_role("button", name="Headers", exact=True).click()
        await self.paste(json.dumps({"Authorization": f"Bearer {credentials}"}), "Headers")
        await expect(self.page.get_by_role("region", name="Headers", exact=True)).to_contain_text(
            credentials[-10:]
        )

    async def run(self) -> None:
        await self.page.keyboard.press("Control+Enter")

    async def text(self, area: str) -> str:
        lines = self.page.locator(f".graphiql-{area} .view-lines")
        return (await lines.inner_text()).replace("\xa0", " ")

    async def until(self, condition: str) -> None:
        while not await self.page.evaluate(condition):
            await self.page.evaluate("new Promise(requestAnimationFrame)")

    async def until_subscribed(self, times: int = 1) -> None:
        await expect(self.page.get_by_role("button", name="Stop query")).to_be_visible()
        while sum('"subscribe"' in frame for frame in self.sent) < times:
            await self.page.evaluate("new Promise(requestAnimationFrame)")

    async def answer(self, *parts: str) -> None:
        """Waits until the response contains each part."""
        shown = self.page.locator(".graphiql-response .view-lines")
        for part in parts:
            await expect(shown).to_contain_text(part)


async def create(url: str, *names: str) -> None:
    async with http_client(url) as http:
        for name in names:
            user = {"username": name, "email": f"{name}@example.com", "externalId": f"hr-{name}"}
            body = {"query": CREATE, "variables": {"input": user}}
            answer = (await http.post("/graphql", json=body)).json()
            assert "errors" not in answer, answer


async def rename(url: str, name: str) -> None:
    variables = {"input": {"by": {"username": name}, "displayName": "New"}}
    async with http_client(url) as http:
        body = {"query": RENAME, "variables": variables}
        answer = (await http.post("/graphql", json=body)).json()
    assert answer == {"data": {"upsertUser": {"errors": []}}}


async def live(url: str, fields: str) -> str:
    """Returns a subscription to events from now on, whenever the page has sent it."""
    async with http_client(url) as http:
        body = {"query": "{ userEvents(last: 1) { nodes { cursor } } }"}
        answer = (await http.post("/graphql", json=body)).json()
    [event] = answer["data"]["userEvents"]["nodes"]
    return f'subscription {{ userEvents(after: "{event["cursor"]}") {{ {fields} }} }}'


@asynccontextmanager
async def opened(folder: Path, browser: Browser, **settings: str) -> AsyncIterator[GraphiQL]:
    async with serving_process(folder, **settings) as (_, url), closing_contexts(browser):
        await create(url, "mia", "ada")
        page = await browser.new_page(viewport={"width": 1280, "height": 800})
        await page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        graphiql = GraphiQL(page, url)
        graphiql.watch()
        yield graphiql
        assert graphiql.problems == []
        assert graphiql.hosts == {urlsplit(url).netloc}


@pytest_asyncio.fixture(loop_scope="session")
async def graphiql(tmp_path: Path, browser: Browser) -> AsyncIterator[GraphiQL]:
    async with opened(tmp_path, browser) as graphiql:
        yield graphiql


@pytest_asyncio.fixture(loop_scope="session")
async def with_issuer(tmp_path: Path, browser: Browser) -> AsyncIterator[GraphiQL]:
    """GraphiQL on a development server that accepts the tokens of an issuer."""
    async with opened(tmp_path, browser, **ISSUER) as graphiql:
        await graphiql.open()
        yield graphiql


async def test_example_shows_a_page_of_users_and_the_page_is_accessible(graphiql: GraphiQL) -> None:
    await graphiql.open()
    await graphiql.page.get_by_role("button", name=RUN).click()
    await graphiql.answer('"totalCount": 2', '"username": "mia"', '"username": "ada"')
    await graphiql.page.evaluate(AXE.read_text())
    found = await graphiql.page.evaluate("axe.run()")
    assert [rule["id"] for rule in found["violations"] if rule["impact"] == "critical"] == []


async def test_mutation_with_a_taken_username_shows_its_error(graphiql: GraphiQL) -> None:
    await graphiql.open()
    await graphiql.paste(TAKEN)
    await graphiql.run()
    await graphiql.answer('"user": null', '"code": "TAKEN"', '"username"')


async def test_subscription_pasted_and_run_at_once_receives_events(graphiql: GraphiQL) -> None:
    await graphiql.open()
    await graphiql.paste(await live(graphiql.url, "type user { username }"))
    await graphiql.run()
    await graphiql.until_subscribed()
    await create(graphiql.url, "zoe")
    await graphiql.answer('"type": "CREATED"', '"username": "zoe"')


async def test_token_of_the_headers_editor_is_sent_with_queries(with_issuer: GraphiQL) -> None:
    await with_issuer.paste(VIEWER)
    await with_issuer.run()
    await with_issuer.answer('"viewer": null')
    await with_issuer.sign_in(token(sub="hr-mia"))
    await with_issuer.run()
    await with_issuer.answer('"username": "mia"', '"UPDATE"')
    assert "DELETE" not in await with_issuer.text("response")
    await with_issuer.sign_in(token(sub="hr-ada", scope=" ".join(Scope)))
    await with_issuer.run()
    await with_issuer.answer('"username": "ada"', '"DELETE"')


async def test_token_of_the_headers_editor_is_sent_with_subscriptions(
    with_issuer: GraphiQL,
) -> None:
    rights = f"{Scope.READ} {Scope.HISTORY}"
    for number, name in enumerate(("mia", "ada"), start=1):  # a second run has its own token
        await with_issuer.paste(await live(with_issuer.url, "user { username isViewer }"))
        await with_issuer.sign_in(sent := token(sub=f"hr-{name}", scope=rights))
        await with_issuer.run()
        await with_issuer.until_subscribed(number)
        assert sent in next(f for f in reversed(with_issuer.sent) if '"connection_init"' in f)
        await rename(with_issuer.url, name)
        await with_issuer.answer(f'"username": "{name}"', '"isViewer": true')
        await with_issuer.page.get_by_role("button", name="Stop query").click()


async def test_token_without_the_rights_of_a_subscription_shows_the_error(
    with_issuer: GraphiQL,
) -> None:
    await with_issuer.sign_in(token(sub="hr-mia", scope=Scope.READ))
    await with_issuer.paste(LIVE)
    await with_issuer.run()
    await with_issuer.answer('"code": "FORBIDDEN"', "users:history")
    with_issuer.problems.clear()  # GraphiQL reports it on the console, too


async def test_token_that_is_not_accepted_shows_the_error(with_issuer: GraphiQL) -> None:
    await with_issuer.sign_in("not a token")
    await with_issuer.paste(VIEWER)
    await with_issuer.run()
    await with_issuer.answer('"code": "UNAUTHENTICATED"')
    await with_issuer.paste(LIVE)
    await with_issuer.run()
    await with_issuer.answer("Socket closed with event 4403")
    assert len([frame for frame in with_issuer.sent if '"connection_init"' in frame]) == 1
    # Chromium and GraphiQL report them on the console, too.
    assert len(with_issuer.problems) == 2
    with_issuer.problems.clear()


async def test_reload_keeps_the_query_and_forgets_the_headers(graphiql: GraphiQL) -> None:
    await graphiql.open("?query={ viewer { id } }")
    await graphiql.paste("{ users { countAtMost(limit: 7) } }")
    await expect(graphiql.page.locator(".graphiql-query-editor .view-lines")).to_contain_text("7")
    await graphiql.until("Object.values(localStorage).some(value => value.includes('limit: 7'))")
    await graphiql.open()
    assert "countAtMost(limit: 7)" in await graphiql.text("query-editor")
    await graphiql.run()


async def test_copied_link_opens_the_operation_and_its_variables(graphiql: GraphiQL) -> None:
    await graphiql.open()
    await graphiql.paste("query ($n: Int) { users(first: $n) { nodes { username } } }")
    await graphiql.paste('{"n": 1}', "Variables")
    await graphiql.page.get_by_role("button", name="Copy a link to this operation").click()
    link = await graphiql.page.evaluate("navigator.clipboard.readText()")
    assert set(parse_qs(urlsplit(link).query)) == {"query", "variables"}
    await graphiql.open("?" + urlsplit(link).query)
    await graphiql.page.get_by_role("button", name=RUN).click()
    await graphiql.answer('"username": "ada"')
    assert "mia" not in await graphiql.text("response")


async def test_input_of_a_one_of_type_with_two_fields_is_marked(graphiql: GraphiQL) -> None:
    await graphiql.open()
    await graphiql.paste('{ userBy(by: { username: "mia", email: "mia@example.com" }) { id } }')
    await expect(graphiql.page.locator(".graphiql-query-editor .squiggly-error")).to_have_count(1)


async def test_operation_named_like_an_introspection_runs_as_written(graphiql: GraphiQL) -> None:
    await graphiql.open()
    await graphiql.paste("query IntrospectionQuery { __schema { queryType { name } } }")
    for _ in range(2):  # before and after GraphiQL has parsed the text
        await graphiql.run()
        await graphiql.answer('"name": "Query"')
        assert '"types"' not in await graphiql.text("response")
        await graphiql.until("Object.values(localStorage).some(v => v.includes('Introspection'))")
    await graphiql.paste("query A { users { totalCount } }")
    await graphiql.run()
    await graphiql.answer('"totalCount": 2')


async def test_reload_opens_a_link_again_until_it_is_edited(graphiql: GraphiQL) -> None:
    editor = graphiql.page.locator(".graphiql-query-editor .view-lines")
    await graphiql.open("?query={ viewer { id } }")
    await graphiql.page.reload()
    await expect(editor).to_contain_text("viewer")
    await graphiql.paste("{ users { totalCount } }")
    await graphiql.until("location.search === ''")
    await graphiql.until("Object.values(localStorage).some(v => v.includes('totalCount'))")
    await graphiql.page.reload()
    await expect(editor).to_contain_text("totalCount")


async def test_response_is_below_the_operation_on_a_narrow_screen(graphiql: GraphiQL) -> None:
    await graphiql.page.set_viewport_size({"width": 420, "height": 800})
    await graphiql.open()
    operation = await graphiql.page.locator(".graphiql-editors").bounding_box()
    response = await graphiql.page.locator(".graphiql-response").bounding_box()
    assert operation
    assert response
    assert operation["width"] == response["width"] > 300
    assert operation["y"] + operation["height"] <= response["y"]
