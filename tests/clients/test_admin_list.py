"""The list of the example page: search, tabs, scrolling, and answers that arrive late."""

import pytest
from playwright.async_api import expect

from tests.support.admin_page import PEOPLE, HeldAnswers, Site, row

pytestmark = [pytest.mark.chromium, pytest.mark.asyncio(loop_scope="session")]


async def test_list_is_searched_counted_and_scrolled_without_duplicates(site: Site) -> None:
    page = await site.open()
    rows = page.locator("#list tbody tr")
    await expect(page.get_by_role("tab").first).to_have_text("Active 130")
    for number in (49, 99, 129):
        await rows.nth(number).scroll_into_view_if_needed()
    await expect(rows).to_have_count(PEOPLE)
    emails = await rows.locator("td:nth-child(2)").all_inner_texts()
    assert emails == [f"user-{number:03}@example.com" for number in reversed(range(PEOPLE))]
    await page.get_by_label("Search users").press_sequentially("user-007")
    await expect(rows).to_have_count(1)
    await expect(page.get_by_role("tab").first).to_have_text("Active 1")
    await page.get_by_label("Search users").fill("nobody")
    await expect(page.get_by_text("No user matches “nobody”.")).to_be_visible()
    await expect(page.get_by_role("tab").first).to_have_text("Active 0")


async def test_late_answer_of_an_older_search_does_not_replace_the_newer_one(site: Site) -> None:
    page = await site.open()
    await expect(row(page, "user-129")).to_be_visible()
    held = HeldAnswers(page, lambda given: given.get("search") == "user-01")
    await held.begin()
    search = page.get_by_label("Search users")
    await search.fill("user-01")
    await held.ready.wait()
    await search.fill("user-007")
    rows = page.locator("#list tbody tr")
    await expect(rows).to_have_count(1)
    await held.release()
    assert await rows.locator("td:nth-child(2)").all_inner_texts() == ["user-007@example.com"]
    await expect(page.get_by_role("tab").first).to_have_text("Active 1")
    await search.fill("user-01")
    await expect(rows).to_have_count(10)


async def test_search_that_is_rejected_shows_the_error_and_no_rows(site: Site) -> None:
    page = await site.open()
    search = page.get_by_label("Search users")
    await search.fill("a b c d e f g h i")
    await expect(page.get_by_role("alert")).to_have_text(
        "`search` has 9 words; it can have 8.Try again"
    )
    await expect(page.locator("#list tbody tr")).to_have_count(0)
    await search.fill("user-007")
    await expect(page.get_by_role("alert")).to_have_count(0)
    await expect(row(page, "user-007")).to_be_visible()


async def test_page_that_cannot_be_read_is_read_again_on_request(site: Site) -> None:
    page = await site.open()
    await expect(row(page, "user-129")).to_be_visible()
    await page.route("**/graphql", lambda route: route.abort())
    await page.locator("#list tbody tr").last.scroll_into_view_if_needed()
    await expect(page.get_by_role("alert")).to_contain_text("Failed to fetch")
    await page.unroute_all()
    await page.get_by_role("button", name="Try again").click()
    await expect(row(page, "user-079")).to_be_attached()
    await expect(page.get_by_role("alert")).to_have_count(0)
    assert all("net::ERR_FAILED" in problem for problem in site.problems)  # of Chromium
    site.problems.clear()
