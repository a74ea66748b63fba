"""Live rows of the example page: they enter, leave and keep their place, also after a cut."""

import asyncio

import pytest
from playwright.async_api import Locator, Page, Route, WebSocketRoute, expect

from tests.support.admin_page import Site, row, screenshot, variables

pytestmark = [pytest.mark.chromium, pytest.mark.asyncio(loop_scope="session")]


def tabs(page: Page) -> tuple[Locator, Locator, Locator]:
    active, deactivated, deleted = (page.get_by_role("tab").nth(number) for number in range(3))
    return active, deactivated, deleted


async def connected(page: Page) -> None:
    await expect(page.get_by_text("Live", exact=True)).to_be_visible()


async def test_row_moves_between_the_tabs_of_two_pages_and_counts_follow(site: Site) -> None:
    first, second = await site.open(), await site.open()
    await tabs(second)[1].click()
    await expect(second.get_by_text("There are no users here.")).to_be_visible()
    await connected(second)
    for number in (128, 3):  # also a row that the first page has not loaded
        await site.update(f"user-{number:03}", displayName="Moves")
    await first.get_by_role("button", name="Deactivate user-128", exact=True).click()
    await expect(row(first, "user-128")).to_have_count(0)
    await expect(row(second, "user-128")).to_have_count(1)
    for page in (first, second):
        await expect(tabs(page)[0]).to_have_text("Active 129")
        await expect(tabs(page)[1]).to_have_text("Deactivated 1")
    await screenshot(second, "live")
    await second.get_by_role("button", name="Reactivate user-128", exact=True).click()
    await expect(row(second, "user-128")).to_have_count(0)
    listed = first.locator("#list tbody tr td:nth-child(2)")
    await expect(listed.nth(1)).to_have_text("user-128@example.com")  # at its place
    assert (await listed.all_inner_texts())[:3] == [
        f"user-{number}@example.com" for number in (129, 128, 127)
    ]
    await expect(row(first, "user-003")).to_have_count(0)
    for page in (first, second):
        await expect(tabs(page)[0]).to_have_text("Active 130")
        await expect(tabs(page)[1]).to_have_text("Deactivated 0")


async def test_rows_enter_and_leave_a_search(site: Site) -> None:
    page = await site.open()
    await connected(page)
    await page.get_by_label("Search users").fill("lovelace")
    await expect(page.get_by_text("No user matches “lovelace”.")).to_be_visible()
    await site.update("user-003", displayName="Ada Lovelace")
    await expect(row(page, "user-003")).to_contain_text("Ada Lovelace")
    await expect(tabs(page)[0]).to_have_text("Active 1")
    await site.create("lovelace")
    await expect(page.locator("#list tbody tr")).to_have_count(2)
    await expect(page.locator("#list tbody tr").first).to_contain_text("lovelace@example.com")
    await site.update("user-003", displayName="Ada King")
    await expect(row(page, "user-003")).to_have_count(0)
    await expect(tabs(page)[0]).to_have_text("Active 1")


async def test_many_changes_in_one_transaction_are_all_applied(site: Site) -> None:
    page = await site.open()
    await connected(page)
    await site.create(*(f"new-{number:03}" for number in range(120)))  # more than a filter takes
    await expect(tabs(page)[0]).to_have_text("Active 250")
    await expect(page.locator("#list tbody tr")).to_have_count(170)
    names = await page.locator("#list tbody th").all_inner_texts()
    assert names[:120] == [f"new-{number:03}" for number in reversed(range(120))]
    assert names[120:] == [f"user-{number:03}" for number in range(129, 79, -1)]


async def test_changes_during_a_cut_are_applied_after_it(site: Site) -> None:
    page = await site.open()
    sockets: list[WebSocketRoute] = []
    allowed = asyncio.Event()

    async def connect(socket: WebSocketRoute) -> None:
        sockets.append(socket)
        if len(sockets) > 1:
            await allowed.wait()
        socket.connect_to_server()

    await page.route_web_socket("**/graphql", connect)
    await page.reload()
    await connected(page)
    await site.update("user-129", displayName="Before")
    await expect(row(page, "user-129")).to_contain_text("Before")
    await sockets[0].close(code=1012, reason="restart")
    await expect(page.get_by_text("Connecting…")).to_be_visible()
    await site.send('mutation { deactivateUser(input: {id: "VXNlcjoxMzA"}) { changed } }')
    await site.create("grace")
    allowed.set()
    await connected(page)
    await expect(row(page, "user-129")).to_have_count(0)
    await expect(page.locator("#list tbody tr").first).to_contain_text("grace@example.com")
    await expect(tabs(page)[1]).to_have_text("Deactivated 1")


async def test_page_that_is_older_than_a_change_is_corrected(site: Site) -> None:
    page = await site.open()
    await connected(page)
    read, release = asyncio.Event(), asyncio.Event()

    async def hold(route: Route) -> None:
        if variables(route.request).get("isNext"):
            answer = await route.fetch()
            read.set()
            await release.wait()
            await route.fulfill(response=answer)
        else:
            await route.continue_()

    await page.route("**/graphql", hold)
    await page.locator("#list tbody tr").last.scroll_into_view_if_needed()
    await read.wait()
    await site.update("user-070", displayName="Changed")
    await site.send('mutation { deactivateUser(input: {id: "VXNlcjo3Mg"}) { changed } }')
    release.set()
    await expect(row(page, "user-070")).to_contain_text("Changed")
    await expect(row(page, "user-071")).to_have_count(0)
    await expect(tabs(page)[0]).to_have_text("Active 129")
