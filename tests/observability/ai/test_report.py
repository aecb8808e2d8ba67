"""The page about usage: its figures are the view's, names cannot break out of it, and a browser draws it."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

from parquedb.observability.ai import (
    AIRequest,
    AIRequestsView,
    AIUsageView,
    PriceBook,
    Tokens,
    ai_usage_report,
    create_ai_usage_view,
)
from parquedb.observability.ai.charts import Series, compact, nice_ceiling, stacked_bars
from parquedb.observability.ai.prices import NoPrices, custom_prices
from parquedb.observability.ai.report import money, seconds
from tests.support.view_database import ViewDatabase

BOOK = PriceBook(
    custom_prices({"small": {"input": "1", "output": "4"}, "large": {"input": "10", "output": "40"}}), NoPrices()
)
EVIL = '<script>alert(1)</script>"&'


@pytest.fixture
def db() -> Iterator[ViewDatabase]:
    database = ViewDatabase()
    requests = [
        AIRequest(
            id=f"r{number}",
            time=datetime(2026, 3, 1, tzinfo=UTC) + timedelta(hours=number * 3),
            model=("small", "large", EVIL)[number % 3],
            provider="p",
            latency_s=0.2 + number / 100,
            status="error" if number % 20 == 0 else "ok",
            tokens=Tokens(20_000 + 300 * number, 2_000),
        )
        for number in range(120)
    ]
    AIRequestsView(database, prices=BOOK).record_many(requests)
    yield database
    database.close()


def refreshed(db: ViewDatabase) -> AIUsageView:
    view = create_ai_usage_view(db, prices=BOOK)
    view.refresh()
    return view


def report(db: ViewDatabase) -> str:
    return ai_usage_report(refreshed(db))


class Tags(HTMLParser):
    """The tags of a page and whether each is closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.seen.append(tag)
        if tag not in {"meta", "line", "rect"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in {"meta", "line", "rect"}:
            assert self.open.pop() == tag


def test_the_page_tells_what_the_view_tells(db: ViewDatabase) -> None:
    page = report(db)
    usage = create_ai_usage_view(db, prices=BOOK).get_summary().usage
    assert f"<dd>{money(usage.cost)}</dd>" in page
    assert f"<dd>{usage.requests:,}</dd>" in page
    assert "Nobody knows the prices of" in page
    chart = ElementTree.fromstring(re.search(r"<svg.*?</svg>", page)[0])  # type: ignore[index]
    told = [one.text or "" for one in chart.iter("title")]
    assert len(told) == 15 * 2
    assert any(re.fullmatch(r"2026-03-01, large: \$[\d.]+", text) for text in told)


def test_names_of_models_are_text_and_nothing_else(db: ViewDatabase) -> None:
    page = report(db)
    tags = Tags(page)
    assert "script" not in tags.seen
    assert tags.open == []
    assert "&lt;script&gt;" in page


def test_the_page_needs_nothing_from_anywhere(db: ViewDatabase) -> None:
    assert not re.search(r"https?://|src=|url\(|@import|<link", report(db))


def test_a_page_without_requests_says_what_to_do(db: ViewDatabase) -> None:
    empty = ViewDatabase()
    page = report(empty)
    assert "record_ai_request" in page
    assert "<dl>" not in page
    empty.close()
    assert "No requests in this time: ask for a longer one" in ai_usage_report(
        refreshed(db), "2020-01-01", "2020-01-02"
    )


def test_days_without_requests_have_their_place_and_of_too_many_the_latest_are_shown(
    db: ViewDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = AIRequest(id="late", time=datetime(2026, 4, 9, tzinfo=UTC), model="large", tokens=Tokens(1000, 100))
    AIRequestsView(db, prices=BOOK).record(late)
    page = report(db)
    labels = re.findall(r'text-anchor="middle">([\d-]+)<', page[: page.index("</svg>")])
    assert labels == [f"{datetime(2026, 3, 1, tzinfo=UTC) + timedelta(days=4 * place):%Y-%m-%d}" for place in range(10)]
    assert ", the latest" not in page
    monkeypatch.setattr("parquedb.observability.ai.report.PERIODS_MAX", 30)
    assert "Cost by day and model, the latest 30<" in report(db)


def test_a_single_bar_is_no_wall() -> None:
    page = stacked_bars(["2026-03-01"], [Series("x", [1])], title="t")
    [bar] = re.findall(r'<rect x="([\d.]+)" [^>]*width="([\d.]+)"', page)
    assert (float(bar[0]) + float(bar[1]) / 2, float(bar[1])) == (515, 60)


def test_bars_are_as_tall_as_their_values() -> None:
    svg = ElementTree.fromstring(
        re.search(r"<svg.*</svg>", stacked_bars(["a", "b"], [Series("x", [1, 2]), Series("y", [1, 0])], title="t"))[0]  # type: ignore[index]
    )
    heights = [float(bar.attrib["height"]) for bar in svg.iter("rect")]
    assert heights[0] == heights[1]
    assert heights[2] == pytest.approx(2 * heights[0], abs=0.2)
    assert [nice_ceiling(value) for value in (0, 0.013, 2, 2.2, 99, 100, 101, 530)] == [
        1,
        0.016,
        2,
        2.4,
        100,
        100,
        120,
        600,
    ]


def test_amounts_are_worded_so_that_small_ones_are_not_nothing() -> None:
    amounts = [Decimal("0"), Decimal("0.000123456"), Decimal("0.25"), Decimal("1234.567")]
    assert list(map(money, amounts)) == ["$0.00", "$0.0001235", "$0.25", "$1,234.57"]
    numbers = (0, 0.0001, 1, 2.5, 99.96, 950, 999.4, 999.6, 1_234, 999_499, 999_999, 2e6, 999_999_999, 1.5e13)
    assert [compact(number) for number in numbers] == [
        *("0", "0.0001", "1", "2.5", "100", "950", "999", "1k", "1.23k", "999k", "1M", "2M", "1G", "15,000G")
    ]
    assert list(map(seconds, (None, 0.0123, 2.0))) == ["-", "12 ms", "2.00 s"]


def test_a_browser_draws_the_page(db: ViewDatabase, tmp_path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium here: apt install chromium")
    page, picture = tmp_path / "usage.html", tmp_path / "usage.png"
    page.write_text(report(db))
    flags = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    subprocess.run(
        [browser, *flags, f"--screenshot={picture}", "--window-size=1040,1500", page.as_uri()],
        check=True,
        capture_output=True,
        timeout=90,
    )
    assert picture.stat().st_size > 20_000
    drawn = subprocess.run(
        [browser, *flags, "--dump-dom", page.as_uri()], check=True, capture_output=True, text=True, timeout=90
    ).stdout
    assert drawn.count("<rect") == 15 * 2 + 15 * 3
