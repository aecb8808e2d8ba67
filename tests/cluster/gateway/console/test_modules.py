"""Modules of the page that need no page: run by the Chromium that would run them, imported from the gateway."""

import json
import random
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.console_browser import Sheet, browser
from tests.support.gateway_server import GatewayServer


@pytest.fixture(scope="module")
def page() -> Iterator[Any]:
    with GatewayServer() as server, browser() as chromium:
        sheet = Sheet(chromium.new_page())
        sheet.page.goto(f"{server.url}/console")
        yield sheet.page
        assert sheet.complaints == []


def run(page: Any, module: str, body: str, argument: Any) -> Any:
    """Return what a function body makes of an argument, with the module as `m`."""
    code = f"async (given) => {{ const m = await import('./console/{module}.js'); {body} }}"
    return page.evaluate(code, argument)


def any_json(rng: random.Random, depth: int = 0) -> str:
    """Return a JSON text in the form that the page writes: one line, no spaces, numbers of all kinds."""
    kind = rng.randrange(9 if depth < 4 else 6)
    if kind < 3:
        texts = ("0", "-0", "1.0", "1e400", "-12.50", "9007199254740993", "123456789012345678901234567890", "1E-7")
        return rng.choice(texts)
    if kind < 5:
        text = "".join(rng.choice('aé"\\\n\t\x00\u2028😀{}[]:,/') for _ in range(rng.randrange(8)))
        return json.dumps(text, ensure_ascii=False)
    if kind == 5:
        return rng.choice(("true", "false", "null"))
    inner = [any_json(rng, depth + 1) for _ in range(rng.randrange(4))]
    if kind == 6:
        return f"[{','.join(inner)}]"
    # A name that objects of JavaScript have by themselves is a name like any other.
    names = [f'"{name}"' for name in ("a", "__proto__", "constructor", "10", "2")]
    return f"{{{','.join(f'{name}:{value}' for name, value in zip(names, inner, strict=False))}}}"


def test_json_is_read_and_written_without_loss(page: Any) -> None:
    rng = random.Random(5)
    texts = [any_json(rng) for _ in range(500)]
    assert any("9007199254740993" in text for text in texts)
    written = run(page, "exact_json", "return given.map((text) => m.stringify(m.parse(text)))", texts)
    assert written == texts
    indented = run(page, "exact_json", "return given.map((text) => m.stringify(m.parse(text), 2))", texts)
    assert run(page, "exact_json", "return given.map((text) => m.stringify(m.parse(text)))", indented) == texts


def test_what_is_no_json_is_refused_with_what_was_expected_and_where(page: Any) -> None:
    refused = {
        "": "a value at character 1, got the end",
        "{a: 1}": 'a name in double quotes at character 2, got "a: 1}"',
        "[1 2]": '"," or "]" at character 4, got "2]"',
        '{"a" 1}': "a colon at character 6",
        "01": "the end at character 2",
        "'a'": "a value at character 1",
        '"a': "a closed string at character 1",
        "nul": "a value",
        "[" * 300: "at most 250 levels",
        "{} {}": "the end at character 4",
    }
    told = run(
        page,
        "exact_json",
        "return given.map((text) => { try { m.parse(text); return 'taken' } catch (error) { return error.message } })",
        list(refused),
    )
    for text, words, expected in zip(refused, told, refused.values(), strict=True):
        assert words.startswith(f"not JSON: expected {expected}"), text


def test_the_beginning_of_a_large_value_costs_no_more_than_it_is_long(page: Any) -> None:
    large = json.dumps({"a": list(range(200_000)), "b": "x" * 1_000_000})
    told = run(page, "exact_json", "return m.beginning(m.parse(given), 50)", large)
    assert told.startswith('{"a":[0,1,2,3')
    assert len(told) < 100
    assert (
        run(page, "exact_json", "return m.beginning(m.parse(given), 50)", '{"a":[1,{"b":null}]}')
        == '{"a":[1,{"b":null}]}'
    )


def test_an_address_holds_any_name_and_is_read_as_it_was_made(page: Any) -> None:
    places = [["posts", None], ["a/b", "c/d?e#f"], ["ü %", "."], ["$x", '"<b>"'], [None, None]]
    for namespace, id_ in places:
        options = {"filter": '{"a": "&=#?/%"}', "sort": "-n", "empty": ""}
        told = run(
            page,
            "place",
            "const place = m.readPlace(m.addressOf(...given)); return { ...place, options: { ...place.options } }",
            [namespace, id_, options],
        )
        assert told == {"namespace": namespace, "id": id_, "options": {"filter": '{"a": "&=#?/%"}', "sort": "-n"}}
    broken = run(page, "place", "return m.readPlace(given).namespace", "#/%zz")
    assert broken == "%zz"


def test_numbers_are_worded_with_few_digits_and_a_unit(page: Any) -> None:
    cases = {
        "count": {0: "0", 999: "999", 9999: "9,999", 12_345: "12.3k", 2_100_000: "2.1M"},
        "rate": {0: "0", 0.3967: "0.4", 15.2: "15", 120_000: "120k"},
        "percent": {0: "0 %", 0.000255: "0.026 %", 0.5: "50 %", 1: "100 %"},
        "bytes": {0: "0 B", 1023: "1023 B", 1536: "1.5 KiB", 5 * 2**30: "5 GiB"},
        "duration": {0: "0 s", 0.000097: "97 µs", 0.0123: "12.3 ms", 1.5: "1.5 s", 90: "1.5 min", 7200: "2 h"},
    }
    for name, worded in cases.items():
        assert run(page, "words", f"return given.map(m.{name})", list(worded)) == list(worded.values())
        assert run(page, "words", f"return [m.{name}(null), m.{name}(undefined)]", None) == ["\u2013", "\u2013"]


def test_values_are_told_by_their_types(page: Any) -> None:
    values = {
        '{"$date": "2026-01-02T03:04:05.123456Z"}': ["2026-01-02 03:04:05.123Z", "date"],
        '{"$date": "2026-01-02T03:04:05.000000Z"}': ["2026-01-02 03:04:05Z", "date"],
        '{"$numberDecimal": "1.10"}': ["1.10", "number"],
        '{"$binary": {"base64": "AAEC", "subType": "00"}}': ["binary, 3 B", "null"],
        '{"$unknown": 1}': ['{"$unknown":1}', "json"],
        '{"$date": "a", "b": 1}': ['{"$date":"a","b":1}', "json"],
        "9007199254740993": ["9007199254740993", "number"],
        "null": ["null", "null"],
    }
    body = (
        "const { parse } = await import('./console/exact_json.js');"
        "return given.map((text) => { const { text: told, kind } = m.brief(parse(text)); return [told, kind] })"
    )
    assert run(page, "values", body, list(values)) == list(values.values())


def test_scales_of_durations_are_divided_as_clocks_are(page: Any) -> None:
    steps = {0.0003: 0.0005, 2.3: 2.5, 5: 5, 7: 10, 25: 30, 31: 60, 200: 300, 4000: 7200, 100_000: 172_800}
    told = run(page, "words", "return given.map((value) => m.clockStep(value))", list(steps))
    assert told == pytest.approx(list(steps.values()))
    assert run(page, "words", "return [0.3, 7, 21, 2400].map((value) => m.roundStep(value))", None) == pytest.approx(
        [0.5, 10, 25, 2500]
    )


def test_a_name_cannot_look_like_another_one(page: Any) -> None:
    names = ["orders", "\u202esredro", "\u2066a\u2069", "עברית", "a\u200db"]
    told = run(page, "words", "return given.map(m.name)", names)
    assert told == ["orders", "\\u202esredro", "\\u2066a\\u2069", "עברית", "a\u200db"]


def test_a_row_keeps_the_focus_when_others_come_before_it_or_go(page: Any) -> None:
    body = """
      const columns = [{ title: "name", text: (row) => row, address: (row) => `#/${row}` }];
      const table = new m.Table({ label: "t", columns, keyOf: (row) => row, empty: "nothing" });
      document.body.append(table.element);
      table.update(["a", "b", "c"]);
      table.element.querySelector("[href='#/b']").focus();
      return given.map((rows) => {
        table.update(rows);
        const shown = [...table.element.querySelectorAll("a")].map((one) => one.textContent);
        return [shown, document.activeElement.textContent];
      });"""
    orders = [["b", "c"], ["c", "b"], ["x", "c", "y", "b"], ["b"], ["b", "a"]]
    assert run(page, "table", body, orders) == [[order, "b"] for order in orders]
