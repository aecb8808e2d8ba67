"""The pictures of the console in the documentation: `python -m tests.support.console_pictures docs/images`.

A shop in a temporary folder is looked at while customers come and go, for the quarter of an hour that the charts show.
What the gateway answered in that time is then told to the pages in some seconds each.
"""

import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import httpx

from tests.support.console_browser import browser
from tests.support.console_shop import ASLEEP, busy, fail, furnish
from tests.support.gateway_server import GatewayServer

STEP_S: Final = 5
SPAN_S: Final = 15 * 60
TROUBLE: Final = (0.55, 0.65)
"""From when to when, as parts of the span, much is refused."""

BYTES_MAX: Final = 150_000
WIDE: Final = {"width": 1280, "height": 860}
NARROW: Final = {"width": 390, "height": 844}
LOW: Final = {"width": 1280, "height": 400}

VIEWS: Final = {
    "": ("/console#/", WIDE, ""),
    "documents": (
        '/console#/orders?filter={"state": "paid", "address.city": {"$in": ["Bern", "Basel"]}}&sort=-placed',
        {"width": 1280, "height": 660},
        "",
    ),
    "history": ("/console#/orders/ord-00042", {"width": 1280, "height": 800}, ""),
    "filter": ('/console#/orders?filter={"total": {"$above": 100}}', LOW, ""),
    "narrow": ("/console#/", NARROW, ""),
    "errors": ("/console#/", WIDE, "section[aria-labelledby=about-recent-errors]"),
}
"""Where each is taken, in a window of which size, and which part of the page it shows; all that fits by default."""

PICTURES: Final = frozenset(
    {"light", "dark", "documents-light", "documents-dark", "history-light", "history-dark"}
    | {"filter-light", "filter-dark", "narrow-light", "narrow-dark", "errors-light", "errors-dark"}
)


def main(folder: Path, *wanted: str) -> None:
    """Make the pictures with these names, without `console-`; all of them where none is named."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place, GatewayServer(place) as server, browser() as chromium:
        server.local.stored |= set(ASLEEP)
        with httpx.Client(base_url=server.url, timeout=60) as client:
            furnish(client)
            fail(client)
            with busy(server.url):
                seen = watched(server.url)
        for name, (where, size, part) in VIEWS.items():
            for scheme in ("light", "dark"):
                picture = f"{name}-{scheme}".lstrip("-")
                if picture in (wanted or PICTURES):
                    path = folder / f"console-{picture}.png"
                    take(chromium, server.url + where, seen, path, scheme=scheme, size=size, part=part)


def watched(url: str) -> list[dict[str, Any]]:
    """Return what a page is told in the span, every few seconds."""
    begun_s = time.monotonic()
    seen: list[dict[str, Any]] = []
    for step in range(SPAN_S // STEP_S + 1):
        time.sleep(max(0.0, begun_s + step * STEP_S - time.monotonic()))
        # Each over a connection of its own: the server closes one that is idle for as long as a step takes.
        with httpx.Client(base_url=url, timeout=60) as client:
            if TROUBLE[0] < step * STEP_S / SPAN_S < TROUBLE[1]:
                fail(client)
            seen.append(client.get("/console/data").raise_for_status().json())
    return seen


def take(  # noqa: PLR0913 - what is looked at, and how
    chromium: Any,
    url: str,
    seen: Sequence[dict[str, Any]],
    path: Path,
    *,
    scheme: str,
    size: dict[str, int],
    part: str = "",
) -> None:
    """Take a picture of a console that has been open for a quarter of an hour."""
    told = iter(seen)
    context = chromium.new_context(viewport=size, color_scheme=scheme)
    page = context.new_page()
    page.route("**/console/data", lambda route: route.fulfill(json=next(told, seen[-1])))
    page.clock.install()
    page.goto(url)
    for _ in seen:
        with page.expect_response("**/console/data"):
            page.clock.run_for(2000)
    page.clock.resume()
    page.wait_for_load_state("networkidle")
    (page.locator(part) if part else page).screenshot(path=path)
    context.close()
    if path.stat().st_size > BYTES_MAX:
        sys.exit(f"{path} has {path.stat().st_size} bytes; {BYTES_MAX} is the most")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/images"), *sys.argv[2:])
