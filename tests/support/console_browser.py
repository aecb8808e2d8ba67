"""A Chromium that looks at consoles, and notes what a page must not do: ask another host, complain, run more script."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
WAIT_MS = 15_000


class Sheet:
    """A page of the browser.

    Attributes:
        page: Playwright's.
        asked: Every address that it asked for.
        complaints: What it said on its console, and exceptions of its scripts.
        dialogs: What scripts popped up; none of ours does.
    """

    def __init__(self, page: Any) -> None:
        self.page = page
        self.asked: list[str] = []
        self.complaints: list[str] = []
        self.dialogs: list[str] = []
        page.set_default_timeout(WAIT_MS)
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("dialog", self._popped)

    def _said(self, message: Any) -> None:
        if message.type in {"error", "warning"}:
            self.complaints.append(f"{message.type}: {message.text}")

    def _popped(self, dialog: Any) -> None:
        self.dialogs.append(dialog.message)
        dialog.dismiss()

    def hosts(self) -> set[str]:
        """Return the hosts, with their ports, that were asked."""
        return {urlsplit(url).netloc for url in self.asked}

    def refusals(self) -> list[str]:
        """Return the complaints but those that Chromium itself makes of answers with a status from 400 on."""
        return [one for one in self.complaints if "Failed to load resource" not in one]


@contextmanager
def browser() -> Iterator[Any]:
    """Start the Chromium of the system; skips the test where there is none."""
    try:
        from playwright.sync_api import sync_playwright  # noqa: PLC0415 - not everybody has it
    except ImportError:
        pytest.skip("no playwright here: pip install playwright")
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip("no Chromium here: apt install chromium")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        try:
            yield started
        finally:
            started.close()
