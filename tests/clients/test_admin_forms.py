"""The dialogs of the example page: errors at fields, conflicts, removal, and retries of writes."""

import asyncio
import re
from typing import Any

import pytest
from playwright.async_api import Page, Route, expect

from tests.support.admin_page import (
    HeldAnswers,
    Site,
    accessibility_problems,
    row,
    screenshot,
    variables,
)

pytestmark = [pytest.mark.chromium, pytest.mark.asyncio(loop_scope="session")]


async def start_new_user(page: Page, name: str) -> None:
    await page.get_by_role("button", name="New user").click()
    await page.get_by_label("Username").fill(name)
    await page.get_by_label("E-mail").fill(f"{name}@example.com")


async def test_form_shows_errors_at_their_fields(site: Site) -> None:
    page = await site.open()
    await start_new_user(page, "USER-001")
    await page.get_by_label("E-mail").fill("user-002@example.com")
    await page.get_by_role("button", name="Create").click()
    for label in ("Username", "E-mail"):
        await expect(page.get_by_label(label)).to_have_accessible_description(
            re.compile("^Another user has this ")
        )
    assert await accessibility_problems(page) == []
    await screenshot(page, "form-error")
    await page.get_by_label("Username").fill("grace")
    await page.get_by_label("E-mail").fill("grace@example.com")
    await page.get_by_role("button", name="Create").click()
    await expect(page.get_by_role("dialog")).to_have_count(0)
    await expect(page.locator("#list tbody tr").first).to_contain_text("grace@example.com")
    await expect(page.get_by_role("tab").first).to_have_text("Active 131")


async def test_late_answer_of_an_older_check_does_not_replace_the_newer_one(site: Site) -> None:
    page = await site.open()

    def is_check(given: dict[str, Any]) -> bool:
        values = given.get("input", {})
        return bool(values.get("validateOnly") and values["username"] == "user-001")

    held = HeldAnswers(page, is_check)
    await held.begin()
    await start_new_user(page, "user-001")
    await held.ready.wait()
    await page.get_by_label("Username").fill("grace")
    async with page.expect_response("**/graphql"):
        await page.get_by_label("Display name").focus()
    await held.release()
    await expect(page.get_by_label("Username")).to_have_accessible_description("")


async def test_conflict_says_who_when_and_what_and_keeps_the_form(site: Site) -> None:
    token = await site.token("user-001", "users:read", "users:write", "users:history")
    first, second = await site.open(), await site.open(token)
    for page in (first, second):
        await page.get_by_role("button", name="Edit user-129", exact=True).click()
    await second.get_by_label("Display name").fill("Theirs")
    await second.get_by_label("Username").fill("User-129")
    await second.get_by_role("button", name="Save", exact=True).click()
    await expect(second.get_by_role("dialog")).to_have_count(0)
    changed_at = (await site.user("user-129", "updatedAt"))["updatedAt"]
    await first.get_by_label("Display name").fill("Mine")
    await first.get_by_role("button", name="Save", exact=True).click()
    dialog = first.get_by_role("dialog", name="User-129 was changed meanwhile")
    await expect(dialog).to_contain_text("user-001 changed this user on ")
    assert await dialog.locator("time").get_attribute("datetime") == changed_at
    assert await dialog.locator("tbody tr").all_inner_texts() == [
        "Username\tuser-129\tUser-129\t—",
        "Display name\t—\tTheirs\tMine",
    ]
    assert await accessibility_problems(first) == []
    await screenshot(first, "conflict")
    await dialog.get_by_role("button", name="Save mine").click()
    await expect(first.get_by_role("dialog")).to_have_count(0)
    saved = await site.user("user-129", "username displayName version")
    assert saved == {"username": "User-129", "displayName": "Mine", "version": 3}
    for page in (first, second):
        await expect(page.locator("#list tbody tr").first).to_contain_text("Mine")


async def test_conflict_without_the_right_to_read_the_history_names_nobody(site: Site) -> None:
    token = await site.token("user-001", "users:read", "users:write")
    page = await site.open(token)
    await page.get_by_role("button", name="Edit user-129", exact=True).click()
    await site.update("user-129", displayName="Theirs")
    await page.get_by_label("E-mail").fill("new@example.com")
    await page.get_by_role("button", name="Save", exact=True).click()
    dialog = page.get_by_role("dialog", name="user-129 was changed meanwhile")
    await expect(dialog).to_contain_text("Somebody changed this user on ")
    await expect(dialog.get_by_role("table")).to_have_count(0)
    await dialog.get_by_role("button", name="Take theirs").click()
    await expect(page.get_by_label("Display name")).to_have_value("Theirs")
    await expect(page.get_by_label("E-mail")).to_have_value("user-129@example.com")
    await page.get_by_label("Display name").fill("Ours")
    await page.get_by_role("button", name="Save", exact=True).click()
    await expect(page.get_by_role("dialog")).to_have_count(0)
    assert await site.user("user-129", "displayName version") == {
        "displayName": "Ours",
        "version": 3,
    }


async def test_user_who_was_deleted_meanwhile_cannot_be_saved(site: Site) -> None:
    page = await site.open()
    await page.get_by_role("button", name="Edit user-129", exact=True).click()
    await site.send('mutation { deleteUser(input: {id: "VXNlcjoxMzA"}) { changed } }')
    await page.get_by_label("Display name").fill("Mine")
    await page.get_by_role("button", name="Save", exact=True).click()
    dialog = page.get_by_role("dialog", name="user-129 was changed meanwhile")
    await expect(dialog).to_be_visible()
    assert await dialog.locator("tbody tr").all_inner_texts() == ["Status\tACTIVE\tDELETED\t—"]
    assert await dialog.get_by_role("button").all_inner_texts() == [
        "Back to the form",
        "Take theirs",
    ]
    await dialog.get_by_role("button", name="Back to the form").click()
    await expect(page.get_by_role("alert")).to_contain_text("A deleted user cannot be edited.")
    await expect(page.get_by_label("Display name")).to_have_value("Mine")


async def test_user_is_deleted_restored_and_erased(site: Site) -> None:
    page = await site.open()
    tabs = page.get_by_role("tab")
    await page.get_by_role("button", name="Delete user-128", exact=True).click()
    dialog = page.get_by_role("dialog", name="Delete user-128?")
    await dialog.get_by_label("Reason").fill("Left")
    await dialog.get_by_role("button", name="Delete").click()
    await expect(row(page, "user-128")).to_have_count(0)
    await expect(tabs.nth(2)).to_have_text("Deleted 1")
    await tabs.nth(2).click()
    await page.get_by_role("button", name="Restore user-128", exact=True).click()
    await expect(tabs.nth(1)).to_have_text("Deactivated 1")
    await tabs.nth(1).click()
    await page.get_by_role("button", name="Delete user-128", exact=True).click()
    await dialog.get_by_role("button", name="Delete").click()
    await expect(tabs.nth(1)).to_have_text("Deactivated 0")
    await tabs.nth(2).click()
    await page.get_by_role("button", name="Erase user-128", exact=True).click()
    erasure = page.get_by_role("dialog", name="Erase user-128?")
    await erasure.get_by_role("button", name="Erase").click()
    for label in ("Username, to confirm", "Reason"):
        await expect(erasure.get_by_label(label)).to_have_accessible_description(re.compile("."))
    await erasure.get_by_label("Username, to confirm").fill("user-128")
    await erasure.get_by_label("Reason").fill("Asked for it")
    await screenshot(page, "erase")
    await erasure.get_by_role("button", name="Erase").click()
    await expect(page.get_by_role("dialog")).to_have_count(0)
    await expect(page.get_by_text("user-128@example.com")).to_have_count(0)
    await expect(page.locator("#list tbody tr")).to_have_count(1)
    await expect(page.locator("#list tbody tr").get_by_role("button")).to_have_count(0)
    keys = [given.get("idempotencyKey") for given in site.writes]
    assert len(keys) == len({key for key in keys if key}) == 5


async def test_write_whose_answer_is_lost_is_sent_again_with_its_key(site: Site) -> None:
    page = await site.open()
    lost: list[Route] = []

    async def lose_first(route: Route) -> None:
        given = variables(route.request).get("input", {})
        if lost or "idempotencyKey" not in given:
            return await route.continue_()
        lost.append(route)
        await route.fetch()
        return await route.abort()

    await page.route("**/graphql", lose_first)
    await start_new_user(page, "grace")
    await page.get_by_role("button", name="Create").click()
    await expect(page.get_by_role("dialog")).to_have_count(0)
    await expect(row(page, "grace")).to_have_count(1)
    first, second = site.writes
    assert first == second
    assert first["idempotencyKey"]
    await expect(page.get_by_role("tab").first).to_have_text("Active 131")
    assert all("net::ERR_FAILED" in problem for problem in site.problems)  # of Chromium
    site.problems.clear()


async def test_write_sent_again_by_the_user_has_its_key_until_the_form_changes(site: Site) -> None:
    page = await site.open()
    await start_new_user(page, "grace")
    await page.route("**/graphql", lambda route: route.abort())
    create = page.get_by_role("button", name="Create")
    await create.click()
    await expect(page.get_by_role("alert")).to_contain_text("Failed to fetch")
    keys = {given["idempotencyKey"] for given in site.writes}
    assert len(site.writes) == 4
    await page.unroute_all()
    await page.get_by_label("Display name").fill("Grace Hopper")
    await create.click()
    await expect(row(page, "grace")).to_have_count(1)
    keys.add(site.writes[-1]["idempotencyKey"])
    assert len(keys) == 2
    site.problems.clear()


async def test_action_that_is_repeated_later_has_another_key(site: Site) -> None:
    page = await site.open()
    active, deactivated = (page.get_by_role("tab").nth(number) for number in range(2))
    for number in range(1, 3):
        await page.get_by_role("button", name="Deactivate user-129", exact=True).click()
        await expect(deactivated).to_have_text("Deactivated 1")
        await deactivated.click()
        await page.get_by_role("button", name="Reactivate user-129", exact=True).click()
        await expect(deactivated).to_have_text("Deactivated 0")
        assert await site.user("user-129", "version") == {"version": 1 + 2 * number}
        await active.click()
    assert len({given["idempotencyKey"] for given in site.writes}) == 4


async def test_action_that_is_clicked_twice_is_one_write(site: Site) -> None:
    page = await site.open()
    clicked = asyncio.Event()

    async def hold(route: Route) -> None:
        await clicked.wait()
        await route.continue_()

    button = page.get_by_role("button", name="Deactivate user-129", exact=True)
    await expect(button).to_be_visible()
    await page.route("**/graphql", hold)
    await button.dblclick()
    clicked.set()
    await expect(row(page, "user-129")).to_have_count(0)
    assert len(site.writes) == 2
    assert len({given["idempotencyKey"] for given in site.writes}) == 1
    assert await site.user("user-129", "version") == {"version": 2}
