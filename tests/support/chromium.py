"""The installed Chromium, driven by Playwright. Tests that use it have the marker `chromium`."""

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest_asyncio
from playwright.async_api import Browser, async_playwright, expect

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
MISSING = "Tests with the marker chromium were left out: apt-get install chromium."
expect.set_options(timeout=60_000)  # milliseconds, for machines that are busy


@asynccontextmanager
async def browsing() -> AsyncIterator[Browser]:
    """Yields a headless browser."""
    # Chromium's sandbox does not work for root, as whom containers run.
    options = ["--no-sandbox"] if os.geteuid() == 0 else []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=options)
        try:
            yield browser
        finally:
            await browser.close()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """A browser that tests with this loop share: each has contexts of its own."""
    async with browsing() as browser:
        yield browser


@asynccontextmanager
async def closing_contexts(browser: Browser) -> AsyncIterator[None]:
    yield
    for context in browser.contexts:
        await context.close()
