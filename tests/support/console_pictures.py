"""The pictures of the console in the documentation: `python -m tests.support.console_pictures docs/images`.

A shop in a temporary folder is looked at while customers come and go. The quarter of an hour that the charts show
would take as long, so it is told to the page in some seconds: the numbers of the last look, with a swell over them.
"""

import copy
import math
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import httpx

from tests.support.console_browser import browser
from tests.support.console_shop import ASLEEP, busy, fail, furnish
from tests.support.gateway_server import GatewayServer

STEP_S: Final = 5
SPAN_S: Final = 15 * 60
WARM_S: Final = 12.0
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
                polled(client)
                time.sleep(WARM_S)
                last = polled(client)
        for name, (where, size, part) in VIEWS.items():
            for scheme in ("light", "dark"):
                picture = f"{name}-{scheme}".lstrip("-")
                if picture in (wanted or PICTURES):
                    path = folder / f"console-{picture}.png"
                    take(chromium, server.url + where, last, path, scheme=scheme, size=size, part=part)


def polled(client: httpx.Client) -> dict[str, Any]:
    """Return what a page is told."""
    found: dict[str, Any] = client.get("/console/data").raise_for_status().json()
    return found


def take(  # noqa: PLR0913 - what is looked at, and how
    chromium: Any,
    url: str,
    last: dict[str, Any],
    path: Path,
    *,
    scheme: str,
    size: dict[str, int],
    part: str = "",
) -> None:
    """Take a picture of a console that has been open for a quarter of an hour."""
    told = moments(last)
    context = chromium.new_context(viewport=size, color_scheme=scheme)
    page = context.new_page()
    page.route("**/console/data", lambda route: route.fulfill(json=next(told, last)))
    page.clock.install()
    page.goto(url)
    for _ in range(SPAN_S // STEP_S + 1):
        with page.expect_response("**/console/data"):
            page.clock.run_for(2000)
    page.clock.resume()
    page.wait_for_load_state("networkidle")
    (page.locator(part) if part else page).screenshot(path=path)
    context.close()
    if path.stat().st_size > BYTES_MAX:
        sys.exit(f"{path} has {path.stat().st_size} bytes; {BYTES_MAX} is the most")


def moments(last: dict[str, Any]) -> Any:
    """Yield what a page would have been told in the time before the last answer, oldest first."""
    rng = random.Random(3)
    for before_s in range(SPAN_S, -1, -STEP_S):
        told = copy.deepcopy(last)
        told["time_s"] -= before_s
        totals, calm = told["totals"], before_s / SPAN_S
        swell = 1 - 0.35 * calm + 0.16 * math.sin(before_s / 70) * calm
        for name in ("reads_per_s", "writes_per_s", "p50_s"):
            totals[name] *= swell * rng.uniform(0.95, 1.05) if before_s else 1
        totals["p99_s"] *= swell * rng.uniform(0.85, 1.2) if before_s else 1
        # Some minutes ago something was wrong for a while.
        totals["error_rate"] = 0.009 * math.exp(-(((before_s - 380) / 45) ** 2)) + rng.uniform(0.0, 0.0006)
        totals["flush_lag_s"] = (1 + (SPAN_S - before_s) * 7 // 5) % 60
        totals["commit_lag_s"] = rng.uniform(0.0, 0.05)
        yield told


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/images"), *sys.argv[2:])
