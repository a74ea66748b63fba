"""The example page on narrow screens, in the dark scheme, and for assistive technology."""

from typing import Any

import pytest
from playwright.async_api import expect

from tests.support.admin_page import Site, accessibility_problems, row, screenshot

pytestmark = [pytest.mark.chromium, pytest.mark.asyncio(loop_scope="session")]
VIEWS: dict[str, dict[str, Any]] = {
    "wide": {},
    "dark": {"color_scheme": "dark"},
    "narrow": {"viewport": {"width": 390, "height": 800}},
    "narrow-dark": {"viewport": {"width": 320, "height": 700}, "color_scheme": "dark"},
}
FITS = "document.documentElement.scrollWidth <= innerWidth"


@pytest.mark.parametrize("view", VIEWS)
async def test_page_fits_the_screen_and_is_accessible(site: Site, view: str) -> None:
    await site.update("user-129", displayName="Augusta Ada King, Countess of Lovelace " * 4)
    page = await site.open(**VIEWS[view])
    await expect(row(page, "user-129")).to_contain_text("Countess")
    assert await page.evaluate(FITS)
    assert await accessibility_problems(page) == []
    await screenshot(page, view)
    await page.get_by_role("button", name="Edit user-129", exact=True).click()
    await page.get_by_label("E-mail").fill("not an address")
    await page.get_by_label("Display name").focus()
    await expect(page.get_by_label("E-mail")).to_have_attribute("aria-invalid", "true")
    assert await page.evaluate(FITS)
    assert await accessibility_problems(page) == []
    await screenshot(page, f"{view}-form")
    for button in ("Edit", "Deactivate", "Delete"):
        await expect(row(page, "user-128").get_by_role("button", name=button)).to_be_attached()


async def test_colours_follow_the_scheme_of_the_browser(site: Site) -> None:
    colour = "getComputedStyle(document.body).backgroundColor"
    light = await (await site.open(color_scheme="light")).evaluate(colour)
    dark = await (await site.open(color_scheme="dark")).evaluate(colour)
    assert (light, dark) == ("rgb(246, 247, 249)", "rgb(15, 18, 22)")


async def test_dialog_keeps_the_focus_and_closes_with_escape(site: Site) -> None:
    page = await site.open()
    button = page.get_by_role("button", name="Edit user-129", exact=True)
    await button.click()
    inside = "document.querySelector('dialog').contains(document.activeElement)"
    await expect(page.get_by_label("Username")).to_be_focused()
    for _ in range(4):
        assert await page.evaluate(inside)
        await page.keyboard.press("Tab")
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("dialog")).to_have_count(0)
    await expect(button).to_be_focused()


async def test_arrow_keys_change_the_tab(site: Site) -> None:
    page = await site.open()
    tabs = page.get_by_role("tab")
    await tabs.first.focus()
    for key, number in (("ArrowRight", 1), ("ArrowRight", 2), ("ArrowRight", 0), ("ArrowLeft", 2)):
        await page.keyboard.press(key)
        await expect(tabs.nth(number)).to_be_focused()
        await expect(tabs.nth(number)).to_have_attribute("aria-selected", "true")
    await expect(page.get_by_text("There are no users here.")).to_be_visible()
