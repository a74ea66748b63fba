"""The example page with tokens of `roster token`: it offers what the role may do."""

import asyncio

import pytest
from playwright.async_api import Page, Route, expect

from tests.support.admin_page import Site, accessibility_problems, row, screenshot

pytestmark = [pytest.mark.chromium, pytest.mark.asyncio(loop_scope="session")]
MISSING = "Missing scope `users:write`."


async def use(page: Page, token: str, *, name: str = "Developer") -> None:
    """Enters a token into the box of the role. The page loads itself again."""
    await page.get_by_role("button", name=name).click()
    await page.get_by_label("Token").fill(token)
    async with page.expect_navigation():
        await page.get_by_role("button", name="Use this token").click()


async def test_role_is_chosen_and_removed_in_the_page(site: Site) -> None:
    page = await site.open()
    await page.get_by_role("button", name="Developer").click()
    await expect(page.get_by_role("heading", name="Role: Developer")).to_be_visible()
    await expect(page.get_by_text("users:read, users:write, users:erase")).to_be_visible()
    assert await accessibility_problems(page) == []
    await screenshot(page, "role")
    await page.keyboard.press("Escape")
    await use(page, await site.token("user-001", "users:read", "users:history"))
    await page.get_by_role("button", name="user-001", exact=True).click()
    await expect(page.get_by_text("users:read, users:history", exact=True)).to_be_visible()
    async with page.expect_navigation():
        await page.get_by_role("button", name="Remove the token").click()
    await expect(page.get_by_role("button", name="Developer")).to_be_visible()


async def test_token_that_is_typed_while_the_page_loads_is_kept(site: Site) -> None:
    page = await site.open()
    loads = asyncio.Event()

    async def hold(route: Route) -> None:
        await loads.wait()
        await route.continue_()

    await page.route("**/graphql", hold)
    await page.reload()
    await page.get_by_role("button", name="Developer").click()
    await page.get_by_label("Token").fill("a token")
    await expect(page.get_by_role("tab")).to_have_count(0)
    loads.set()
    await expect(page.get_by_role("tab").first).to_have_text("Active 130")
    await expect(page.get_by_role("heading", name="Role: Developer")).to_be_visible()
    await expect(page.get_by_label("Token")).to_have_value("a token")


async def test_reader_is_offered_no_writes_but_their_own(site: Site) -> None:
    page = await site.open()
    await use(page, await site.token("user-129", "users:read", "users:history"))
    await expect(page.get_by_text("Live", exact=True)).to_be_visible()
    await expect(page.get_by_role("tab").first).to_have_text("Active 130")
    await expect(page.get_by_role("button", name="New user")).to_have_count(0)
    assert await page.locator("#list").get_by_role("button").all_inner_texts() == ["Edit"]
    await page.get_by_role("button", name="Edit user-129", exact=True).click()
    await page.get_by_label("Display name").fill("Me")
    await page.get_by_role("button", name="Save", exact=True).click()
    await expect(row(page, "user-129")).to_contain_text("Me")


async def test_user_without_scopes_sees_and_changes_only_themselves(site: Site) -> None:
    page = await site.open()
    await use(page, await site.token("user-005"))
    await expect(page.get_by_text("You see only yourself")).to_be_visible()
    await expect(page.locator("#list tbody tr")).to_have_count(1)
    await expect(page.get_by_role("tab").first).to_have_text("Active 1")
    await expect(page.get_by_text("Not live")).to_be_visible()
    await page.get_by_role("button", name="Edit user-005", exact=True).click()
    await page.get_by_label("Username").fill("user-006")
    await page.get_by_role("button", name="Save", exact=True).click()
    await expect(page.get_by_label("Username")).to_have_accessible_description(
        "Another user has this username."
    )
    await page.get_by_label("Username").fill("me-too")
    await page.get_by_role("button", name="Save", exact=True).click()
    await expect(row(page, "user-005")).to_contain_text("me-too")


async def test_list_that_is_not_live_follows_the_writes_of_the_page(site: Site) -> None:
    page = await site.open()
    await use(page, await site.token("user-001", "users:read", "users:write"))
    await expect(page.get_by_text("Not live")).to_be_visible()
    await page.get_by_role("button", name="Deactivate user-129", exact=True).click()
    await expect(row(page, "user-129")).to_have_count(0)
    await expect(page.get_by_role("tab").nth(1)).to_have_text("Deactivated 1")
    await page.get_by_role("button", name="New user").click()
    await page.get_by_label("Username").fill("grace")
    await page.get_by_label("E-mail").fill("grace@example.com")
    await page.get_by_role("button", name="Create").click()
    await expect(page.locator("#list tbody tr").first).to_contain_text("grace@example.com")


async def test_write_after_the_rights_have_ended_shows_that_it_is_forbidden(site: Site) -> None:
    page = await site.open()
    reader = await site.token("user-001", "users:read")
    await page.get_by_role("button", name="New user").click()
    await page.evaluate("token => { sessionStorage.token = token }", reader)
    await page.get_by_label("Username").fill("grace")
    await page.get_by_label("E-mail").fill("grace@example.com")
    await page.get_by_role("button", name="Create").click()
    await expect(page.get_by_role("alert")).to_have_text(MISSING)
    await expect(page.get_by_label("Username")).to_have_value("grace")
    assert await accessibility_problems(page) == []
    await screenshot(page, "forbidden")
    await page.get_by_role("button", name="Cancel").click()
    await page.get_by_role("button", name="Deactivate user-129", exact=True).click()
    await expect(row(page, "user-129").get_by_role("alert")).to_have_text(MISSING)
    assert await site.user("grace", "id") is None
    assert await site.user("user-129", "version") == {"version": 1}


async def test_token_that_is_not_accepted_can_be_removed(site: Site) -> None:
    page = await site.open("not a token")
    await expect(page.get_by_role("alert")).to_contain_text("This token is not accepted.")
    assert await accessibility_problems(page) == []
    await screenshot(page, "unauthenticated")
    await page.get_by_role("button", name="Remove the token").click()
    await expect(row(page, "user-129")).to_be_visible()
    assert all("401" in problem for problem in site.problems)  # of Chromium
    site.problems.clear()
