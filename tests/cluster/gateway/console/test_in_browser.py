"""The console as people meet it: in Chromium, with a real gateway behind it.

Every page of every test is held to three things at its end: it has asked no other host, nothing has complained in it,
and no script has run but its own.
"""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from parquedb.access.permissions import ALL
from parquedb.cluster.gateway.app import build_app
from parquedb.cluster.gateway.console.answer import NAMESPACES_MAX
from parquedb.settings.gateway import GatewaySettings
from tests.cluster.gateway.conftest import Names
from tests.support.console_browser import WAIT_MS, Sheet, browser
from tests.support.gateway_server import AppServer, GatewayServer

Opened = Callable[..., Sheet]
WIDE, NARROW = {"width": 1440, "height": 900}, {"width": 390, "height": 844}
EVIL = "<img src=x onerror=alert(1)><script>alert(2)</script>\"'`${alert(3)}"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser() as started:
        yield started


@pytest.fixture
def server() -> Iterator[GatewayServer]:
    with GatewayServer() as made:
        yield made


@pytest.fixture
def opened(chromium: Any) -> Iterator[Opened]:
    """Open consoles, each in a browser of its own as far as storage goes."""
    sheets: list[tuple[Sheet, str]] = []

    def open_(
        url: str, place: str = "", size: dict[str, int] = WIDE, scheme: str = "light", page: str = "console"
    ) -> Sheet:
        sheet = Sheet(chromium.new_context(viewport=size, color_scheme=scheme).new_page())
        sheets.append((sheet, url))
        sheet.page.goto(f"{url}/{page}{place}")
        return sheet

    yield open_
    for sheet, url in sheets:
        sheet.page.context.close()
        assert sheet.hosts() == {url.partition("://")[2].partition("/")[0]}
        assert sheet.refusals() == []
        assert sheet.dialogs == []


def filled(server: GatewayServer, namespace: str = "posts", count: int = 3) -> httpx.Client:
    client = httpx.Client(base_url=server.url)
    documents = [{"$id": f"p{number:03}", "title": f"Post {number}", "n": number} for number in range(count)]
    client.post(f"/v1/{namespace}/create_many", json={"docs": documents}).raise_for_status()
    return client


def rows(sheet: Sheet, label: str) -> list[str]:
    found: list[str] = sheet.page.get_by_role("table", name=label).locator("tbody th").all_inner_texts()
    return found


def namespace_link(sheet: Sheet, name: str) -> Any:
    return sheet.page.get_by_role("table", name="Namespaces").get_by_role("link", name=name, exact=True)


def seen(sheet: Sheet, text: str) -> None:
    """Return as soon as a text can be seen; a test fails that waits in vain."""
    sheet.page.get_by_text(text).first.wait_for(timeout=WAIT_MS)


def test_a_database_without_namespaces_says_so(server: GatewayServer, opened: Opened) -> None:
    sheet = opened(server.url)
    seen(sheet, "Live")
    seen(sheet, "No namespaces yet")
    seen(sheet, "Nothing has failed within the last hour")
    assert sheet.page.title() == "Overview · ParqueDB"


def test_nothing_is_claimed_before_there_was_an_answer(opened: Opened) -> None:
    with GatewayServer(authenticator=Names(ada=[ALL])) as server:
        sheet = opened(server.url)
        seen(sheet, "Signed out")
        sheet.page.get_by_label("Token or API key").wait_for()
        shown = sheet.page.locator("main").inner_text()
        assert not re.search("No namespaces|Nothing has|All circuits|Healthy", shown)
        sheet.page.get_by_label("Token or API key").fill("ada")
        sheet.page.keyboard.press("Enter")
        seen(sheet, "No namespaces yet")


def test_what_does_not_exist_is_shown_as_that(server: GatewayServer, opened: Opened) -> None:
    sheet = opened(server.url, "#/nothing")
    seen(sheet, "There are no documents here.")
    sheet.page.wait_for_load_state("networkidle")
    assert sheet.page.get_by_role("status").all_inner_texts() == ["Live", ""]
    sheet = opened(server.url, "#/nothing/at-all")
    seen(sheet, "There is no such document now.")
    assert not sheet.page.get_by_role("button", name="Copy").is_visible()


def test_one_namespace_is_shown_with_its_numbers_and_charts_that_move(server: GatewayServer, opened: Opened) -> None:
    client = filled(server)
    client.post("/v1/posts?id=p001", json={})
    sheet = opened(server.url)
    row = sheet.page.get_by_role("row", name=re.compile("^posts"))
    row.wait_for()
    assert row.locator("td").all_inner_texts()[:2] == ["open", "3"]
    seen(sheet, "ALREADY_EXISTS")
    for _ in range(5):
        client.get("/v1/posts/documents/p001")
    chart = sheet.page.get_by_role("img", name=re.compile("Operations a second, .*now: reads [1-9.]"))
    chart.wait_for()
    assert chart.locator("path.path.line-0").get_attribute("d").startswith("M")


def test_sixty_namespaces_are_shown_and_of_more_than_a_hundred_how_many_there_are(
    server: GatewayServer, opened: Opened
) -> None:
    server.local.stored |= {f"tenant-{number:02}" for number in range(60)}
    sheet = opened(server.url)
    namespace_link(sheet, "tenant-59").wait_for()
    assert rows(sheet, "Namespaces") == sorted(server.local.stored)
    server.local.stored |= {f"another-{number:03}" for number in range(100)}
    other = GatewayServer()
    other.local.stored |= server.local.stored
    with other:
        sheet = opened(other.url)
        seen(sheet, f"Shown are {NAMESPACES_MAX} of 160")
        sheet.page.get_by_label("Open a namespace by its name").fill("tenant-59")
        sheet.page.keyboard.press("Enter")
        sheet.page.get_by_role("heading", name="tenant-59").wait_for()


def test_a_filter_is_part_of_the_address_and_the_back_button_undoes_it(server: GatewayServer, opened: Opened) -> None:
    filled(server, count=5)
    sheet = opened(server.url)
    page = sheet.page
    namespace_link(sheet, "posts").click()
    seen(sheet, "5 documents of 5")
    page.get_by_label("Filter").fill('{"n": {"$gte": 3}}')
    page.get_by_label("Sort").fill("-n")
    page.get_by_label("Fields").fill("n")
    page.keyboard.press("Enter")
    seen(sheet, "2 documents of 2")
    assert rows(sheet, "Documents") == ["p004", "p003"]
    heads = page.get_by_role("table", name="Documents").locator("thead th").all_inner_texts()
    assert heads == ["id", "n", "version"]
    shared = opened(server.url, page.url.partition("/console")[2])
    seen(shared, "2 documents of 2")
    assert shared.page.get_by_label("Filter").input_value() == '{"n": {"$gte": 3}}'
    page.go_back()
    seen(sheet, "5 documents of 5")
    assert page.get_by_label("Filter").input_value() == ""
    page.go_back()
    page.get_by_role("heading", name="Database").wait_for()


@pytest.mark.parametrize(
    ("field", "text", "expected"),
    [
        ("Filter", '{"n": {"$gte": 3}', 'expected "," or "}" at character 18, got the end'),
        ("Filter", "{n: 3}", "expected a name in double quotes at character 2"),
        ("Filter", '{"n": {"$gtt": 3}}', "$gtt is no filter operator (at 'n'); supported are $eq, $ne, $gt"),
        ("Filter", "[1]", "filter: expected a dict, got list"),
        ("Filter", '{"n": {"$date": "soon"}}', "not extended JSON"),
        ("Sort", "$n", "sort: '$n' is no path"),
        ("Fields", '{"a": 1, "b": 0}', "fields: expected to include fields or to exclude them"),
    ],
)
def test_what_is_wrong_with_a_query_stands_at_its_field(
    server: GatewayServer, opened: Opened, field: str, text: str, expected: str
) -> None:
    filled(server)
    sheet = opened(server.url, "#/posts")
    seen(sheet, "3 documents of 3")
    box = sheet.page.get_by_label(field)
    box.fill(text)
    sheet.page.get_by_role("button", name="Find").click()
    seen(sheet, expected)
    wrong = sheet.page.locator(f"#{box.get_attribute('aria-describedby')}")
    assert expected in wrong.inner_text()
    assert box.get_attribute("aria-invalid") == "true"
    box.fill("")
    sheet.page.get_by_role("button", name="Find").click()
    seen(sheet, "3 documents of 3")
    assert not wrong.is_visible()


def test_pages_follow_the_cursor_forth_and_back(server: GatewayServer, opened: Opened) -> None:
    filled(server, count=60)
    sheet = opened(server.url, "#/posts?sort=n")
    page = sheet.page
    seen(sheet, "25 documents of 60")
    found = rows(sheet, "Documents")
    for first in ("p025", "p050"):
        page.get_by_role("link", name="Next").click()
        page.get_by_role("link", name=first).wait_for()
        found += rows(sheet, "Documents")
    assert found == [f"p{number:03}" for number in range(60)]
    assert page.get_by_text("Next →").get_attribute("aria-disabled") == "true"
    page.get_by_role("link", name="Previous").click()
    page.get_by_role("link", name="p025").wait_for()
    page.go_back()
    page.get_by_role("link", name="p050").wait_for()
    page.get_by_role("link", name="First page").click()
    page.get_by_role("link", name="p000").wait_for()


def test_a_document_is_shown_to_the_last_digit_and_as_of_each_change(server: GatewayServer, opened: Opened) -> None:
    client = filled(server, count=0)
    body = b'{"big": 9007199254740993, "float": 1.0, "day": {"$day": "2026-01-02"}, "title": "One"}'
    client.post("/v1/posts?id=a/b%20c", content=body, headers={"Content-Type": "application/json"})
    client.patch("/v1/posts/documents/a/b%20c", json={"$set": {"title": "Two"}, "$unset": {"day": 1}})
    client.delete("/v1/posts/documents/a/b%20c")
    sheet = opened(server.url, "#/posts?deleted=1")
    sheet.page.get_by_role("link", name="a/b c").click()
    source = sheet.page.get_by_label("JSON")
    source.wait_for()
    assert '"big": 9007199254740993,\n  "float": 1.0' in source.inner_text()
    history = sheet.page.locator(".history a")
    assert [text.split("\n")[0] for text in history.all_inner_texts()] == [
        *("Now", "delete · version 3", "update · version 2", "create · version 1")
    ]
    assert "changed title; removed day" in history.nth(2).inner_text()
    history.nth(3).click()
    seen(sheet, "After change 1, version 1")
    assert json.loads(source.inner_text())["title"] == "One"
    assert sheet.page.url.endswith("#/posts/a%2Fb%20c?seq=1")
    sheet.page.go_back()
    seen(sheet, "Now, version 3")


def test_of_a_huge_document_a_beginning_is_drawn_and_the_page_stays_quick(
    server: GatewayServer, opened: Opened
) -> None:
    client = filled(server, count=1)
    many = {f"field-{number}": "y" * 2_000 for number in range(1_000)}
    for id_, data in {"long": {"text": "x" * (15 << 20), "after": "the long one"}, "wide": many}.items():
        client.post("/v1/posts", params={"id": id_}, json=data, timeout=60).raise_for_status()
    sheet = opened(server.url, "#/posts/long")
    source = sheet.page.get_by_label("JSON")
    source.wait_for()
    assert '"after": "the long one"' in source.inner_text()
    assert f"… {(15 << 20) - 4_096:,} more characters" in source.inner_text()
    assert sheet.page.evaluate("document.body.innerText.length") < 20_000
    seen(sheet, "which has 15 MiB more; Copy takes all of it.")
    sheet.page.goto(f"{server.url}/console#/posts/wide")
    seen(sheet, "which has 1.67 MiB more; Copy takes all of it.")
    assert sheet.page.evaluate("document.body.innerText.length") < 300_000
    limits = [url.partition("limit=")[2] for url in sheet.asked if "/posts/history" in url]
    assert limits == ["1", "2"], "each change brings the whole document"


def test_who_is_unknown_is_asked_for_a_proof_that_stays_in_the_tab(opened: Opened) -> None:
    with GatewayServer(authenticator=Names(ada=[ALL])) as server:
        httpx.post(f"{server.url}/v1/posts", json={}, headers={"Authorization": "Bearer ada"}).raise_for_status()
        sheet = opened(server.url, "#/posts")
        page = sheet.page
        box = page.get_by_label("Token or API key")
        box.wait_for()
        assert box.get_attribute("type") == "password"
        box.fill("nobody")
        page.keyboard.press("Enter")
        seen(sheet, "Sign in to see this: expected a known name.")
        box.fill("ada")
        page.keyboard.press("Enter")
        seen(sheet, "1 document of 1")
        seen(sheet, "Live")
        assert page.evaluate("JSON.stringify(sessionStorage)") == '{"parquedb.console.proof":"ada"}'
        assert page.evaluate("localStorage.length + document.cookie.length") == 0
        assert not any("ada" in url for url in [page.url, *sheet.asked])
        page.reload()
        seen(sheet, "1 document of 1")
        page.get_by_role("button", name="Sign out").click()
        box.wait_for()
        assert page.evaluate("sessionStorage.length") == 0


def test_what_a_caller_may_not_do_is_explained(opened: Opened) -> None:
    with GatewayServer(authenticator=Names(ada=[ALL], eve=["count:posts"])) as server:
        for namespace in ("posts", "secrets"):
            made = httpx.post(f"{server.url}/v1/{namespace}", json={}, headers={"Authorization": "Bearer ada"})
            made.raise_for_status()
        sheet = opened(server.url)
        sheet.page.get_by_label("Token or API key").fill("eve")
        sheet.page.keyboard.press("Enter")
        namespace_link(sheet, "posts").click()
        seen(sheet, "Your token or key does not allow this: find on 'posts' is not allowed.")
        sheet.page.get_by_role("link", name="ParqueDB").click()
        assert rows(sheet, "Namespaces") == ["posts"]


def test_a_name_that_nobody_may_have_is_no_matter_of_permissions(server: GatewayServer, opened: Opened) -> None:
    sheet = opened(server.url, "#/$api-keys")
    seen(sheet, "Not allowed: names that begin with '$' are reserved.")
    assert not sheet.page.get_by_text("Whoever issued").is_visible()


def test_something_else_that_answers_in_the_place_of_the_gateway_is_called_that(
    server: GatewayServer, opened: Opened
) -> None:
    sheet = opened(server.url)
    seen(sheet, "Live")
    sheet.page.route("**/console/data", lambda route: route.fulfill(body="<html>Sign in</html>"))
    seen(sheet, "No answer: what answers at this address is not the gateway. What you see is from")


def test_later_changes_that_are_asked_for_twice_are_shown_once(server: GatewayServer, opened: Opened) -> None:
    client = filled(server, count=1)
    for number in range(59):
        client.patch("/v1/posts/documents/p000", json={"$set": {"n": number + 1}})
    sheet = opened(server.url, "#/posts/p000")
    more = sheet.page.get_by_role("button", name="Later changes")
    more.wait_for()
    seen(sheet, "update · version 25")
    more.evaluate("(button) => { button.click(); button.click(); }")
    seen(sheet, "update · version 50")
    sheet.page.wait_for_load_state("networkidle")
    versions = [text.split("\n")[0] for text in sheet.page.locator(".history li").all_inner_texts()]
    assert versions == [
        "Now",
        "Later changes",
        *(f"update · version {n}" for n in range(50, 1, -1)),
        "create · version 1",
    ]


def test_a_gateway_that_goes_away_is_missed_and_found_again(opened: Opened) -> None:
    with GatewayServer() as server:
        filled(server)
        sheet = opened(server.url)
        seen(sheet, "Live")
    seen(sheet, "No answer: the gateway does not answer. What you see is from")
    assert rows(sheet, "Namespaces") == ["posts"]
    with GatewayServer(port=server.port) as again:
        filled(again, "others")
        namespace_link(sheet, "others").wait_for(timeout=2 * WAIT_MS)
        seen(sheet, "Live")
        assert not sheet.page.get_by_text("No answer").first.is_visible()


def test_hostile_text_stays_text(server: GatewayServer, opened: Opened) -> None:
    namespace = EVIL.replace("/", "|")
    client = httpx.Client(base_url=server.url)
    document = {EVIL: EVIL, "nested": {EVIL: [EVIL]}, "__proto__": {"x": EVIL}, "constructor": EVIL}
    path = f"/v1/{quote(namespace, safe='')}"
    for _ in range(2):
        client.post(path, json=document, params={"id": EVIL})
    client.patch(f"{path}/documents/{quote(EVIL, safe='')}", json={"$set": {"more": EVIL}})
    sheet = opened(server.url)
    page = sheet.page
    namespace_link(sheet, namespace).wait_for()
    seen(sheet, "ALREADY_EXISTS")
    namespace_link(sheet, namespace).click()
    page.get_by_label("Filter").fill(json.dumps({EVIL: {"$" + EVIL: 1}}))
    page.get_by_role("button", name="Find").click()
    seen(sheet, "is no filter operator")
    page.get_by_label("Filter").fill("{}")
    page.get_by_role("button", name="Find").click()
    seen(sheet, "1 document of 1")
    page.get_by_role("table", name="Documents").get_by_role("link").click()
    source = page.get_by_label("JSON")
    source.wait_for()
    shown = json.loads(source.inner_text())
    assert (shown[EVIL], shown["more"], shown["constructor"]) == (EVIL, EVIL, EVIL)
    assert page.evaluate("document.querySelectorAll('main img, main script, body > script').length") == 0
    assert page.evaluate("({}).x === undefined")


def test_a_script_that_got_into_the_page_would_not_run(server: GatewayServer, opened: Opened) -> None:
    sheet = opened(server.url)
    seen(sheet, "Live")
    refused = sheet.page.evaluate(
        "() => { try { document.body.innerHTML = '<img src=x onerror=alert(1)>'; return 'taken' } "
        "catch (error) { return error.name } }"
    )
    assert refused == "TypeError"
    # The browser complains of that, as it should.
    assert any("TrustedHTML" in one for one in sheet.complaints)
    sheet.complaints.clear()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_narrow_window_scrolls_down_and_not_sideways(server: GatewayServer, opened: Opened, scheme: str) -> None:
    client = filled(server)
    client.post("/v1/posts?id=long", json={"x" * 80: "y" * 500, "words": "z " * 300})
    client.post("/v1/posts?id=long", json={})
    for place, text in (("#/", "Live"), ("#/posts", "4 documents of 4"), ("#/posts/long", "Now, version 1")):
        sheet = opened(server.url, place, NARROW, scheme)
        seen(sheet, text)
        wide = sheet.page.evaluate("document.documentElement.scrollWidth")
        assert wide == NARROW["width"], place


def test_everything_is_reached_by_the_keyboard_and_has_its_landmark(server: GatewayServer, opened: Opened) -> None:
    filled(server)
    sheet = opened(server.url)
    page = sheet.page
    namespace_link(sheet, "posts").wait_for()
    for role in ("banner", "main", "navigation"):
        assert page.get_by_role(role).count() == 1
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    reached = []
    for _ in range(8):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.textContent || document.activeElement.ariaLabel"))
        if reached[-1] == "posts":
            break
    assert "Open a namespace by its name" in reached
    assert reached[-1] == "posts"
    page.keyboard.press("Enter")
    seen(sheet, "3 documents of 3")
    assert page.evaluate("document.activeElement.id") == "main"
    unnamed = page.evaluate(
        "[...document.querySelectorAll('input, textarea, select, button, a')]"
        ".filter((one) => !(one.labels?.length || one.ariaLabel || one.textContent.trim())).map((one) => one.outerHTML)"
    )
    assert unnamed == []


def test_a_row_that_has_the_focus_keeps_it_when_numbers_change(server: GatewayServer, opened: Opened) -> None:
    client = filled(server)
    sheet = opened(server.url)
    link = namespace_link(sheet, "posts")
    link.focus()
    client.post("/v1/busier", json={})
    server.local.stored.add("a-new-one")
    namespace_link(sheet, "busier").wait_for()
    assert sheet.page.evaluate("document.activeElement.textContent") == "posts"


@pytest.mark.parametrize("place", ["#/", "#/posts", "#/posts/p001"])
def test_a_console_that_is_left_open_asks_for_no_document(server: GatewayServer, opened: Opened, place: str) -> None:
    filled(server)
    sheet = opened(server.url, place)
    seen(sheet, "Live")
    sheet.page.wait_for_load_state("networkidle")
    before, polls = len(server.local.operations), server.local.surveyed
    with sheet.page.expect_response(lambda answer: answer.url.endswith("/console/data")):
        pass
    with sheet.page.expect_response(lambda answer: answer.url.endswith("/console/data")):
        pass
    assert server.local.surveyed > polls
    assert len(server.local.operations) == before


def test_it_works_below_a_prefix(server: GatewayServer, opened: Opened) -> None:
    filled(server)
    inner = build_app(server.database, GatewaySettings())
    with AppServer(Starlette(routes=[Mount("/some/prefix", inner)])) as outer:
        sheet = opened(f"{outer.url}/some/prefix")
        namespace_link(sheet, "posts").click()
        seen(sheet, "3 documents of 3")
        sheet.page.get_by_role("link", name="p001").click()
        seen(sheet, "Now, version 1")


def test_the_api_is_described_without_any_other_host(server: GatewayServer, opened: Opened) -> None:
    sheet = opened(server.url, page="docs")
    page = sheet.page
    page.get_by_role("heading", name="/v1/{namespace}/documents/{id}").wait_for()
    described = httpx.get(f"{server.url}/openapi.json").json()
    assert page.locator("h2.name").all_inner_texts() == list(described["paths"])
    page.get_by_text("Create a document").click()
    example = page.get_by_label("Example").filter(visible=True)
    assert 'curl -sS -X POST "$GATEWAY/v1/{namespace}"' in example.inner_text()
    page.get_by_role("link", name="NewDocument").filter(visible=True).first.click()
    page.locator("#schema-NewDocument").get_by_label("JSON").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= WIDE["width"]


def test_the_description_is_told_to_whom_the_gateway_knows(opened: Opened) -> None:
    with GatewayServer(authenticator=Names(ada=[ALL])) as server:
        sheet = opened(server.url, page="docs")
        sheet.page.get_by_label("Token or API key").fill("ada")
        sheet.page.keyboard.press("Enter")
        sheet.page.get_by_role("heading", name="/v1/{namespace}/operations").wait_for()


def test_the_description_fits_a_telephone(server: GatewayServer, opened: Opened) -> None:
    sheet = opened(server.url, size=NARROW, page="docs")
    seen(sheet, "Create a document")
    sheet.page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    assert sheet.page.evaluate("document.documentElement.scrollWidth") == NARROW["width"]
