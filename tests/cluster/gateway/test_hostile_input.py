"""Names, bodies, values and filters that mean harm: refused or stored as data, and nothing else is touched."""

import asyncio
import json
import os
import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import pytest

from parquedb.storage.keys import check_key
from tests.support.hostile import Stage, staged

LONG = "n" * 5000
NAMES = [
    *(b"..", b".", b"...", b"a..b", b".hidden", b"%2e%2e", b"%2E%2E%2F", b"..%2fvictim", b"%2e%2e%2fvictim"),
    *(b"..%2f..%2foutside.txt", b"%252e%252e%252f", b"..%255cvictim", b"..%5cvictim", b"%2fetc%2fpasswd", b"//etc"),
    *(b"a%00b", b"%00", b"a%0d%0aX-Evil:%201", b"a%0ab", b"a%09b", b"%1b%5b31m", b"%7f", b"%20", b"a%20b", b"+"),
    *(b"x?versionId=1", b"x%3FversionId=1", b"x%23frag", b"x;y=1", b"~tmp", b"~probe", b"%7etmp", b"victim/"),
    *(b"$users", b"%24keys", b"_system", b"-", b"--help", b"CON", b"NUL.txt", b"aux", b"Victim", b"VICTIM"),
    *(b"%ff", b"%c0%ae%c0%ae", b"%e0%80%af", b"%ed%a0%80", b"%f4%90%80%80", b"%", b"%zz", b"%4", b"%u002e"),
    quote("v\u0456ctim").encode(),  # A Cyrillic letter that looks alike.
    quote("victi\u1d0d").encode(),
    quote("cafe\u0301").encode(),  # The same text as the next, composed otherwise.
    quote("caf\u00e9").encode(),
    quote("\uff0e\uff0e\uff0fvictim").encode(),  # Full-width dots and slash.
    quote("a\u202eb").encode(),
    quote("\u2024\u2024").encode(),
    quote("\U0001f4a9").encode(),
    quote("a\u2028b").encode(),
    LONG.encode(),
    quote("\U0001f4a9" * 150).encode(),
    b"%2e%2e%2f" * 300,
    b"a/" * 400,
]

BODIES = {
    "nothing": b"",
    "null": b"null",
    "a list": b"[]",
    "a text": b'"x"',
    "half": b'{"a": 1',
    "two": b'{"a": 1} {"b": 2}',
    "deep lists": b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deep objects": b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
    "just too deep": b'{"a":' * 150 + b"1" + b"}" * 150,
    "a name twice": b'{"a": 1, "a": 2}',
    "a float beyond": b'{"a": 1e999}',
    "NaN": b'{"a": NaN}',
    "Infinity": b'{"a": -Infinity}',
    "a long int": b'{"a": ' + b"9" * 5_000 + b"}",
    "a very long int": b'{"a": ' + b"9" * 1_000_000 + b"}",
    "a lone surrogate": b'{"a": "\\ud800"}',
    "a lone surrogate as a name": b'{"\\udfff": 1}',
    "UTF-8 that is none": b'{"a": "\xff\xfe"}',
    "overlong UTF-8": b'{"a": "\xc0\xaf"}',
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "UTF-32": '{"a": 1}'.encode("utf-32"),
    "a byte order mark": b'\xef\xbb\xbf{"a": 1}',
    "NUL inside": b'{"a\x00": 1}',
    "an escaped NUL": b'{"a\\u0000b": "\\u0000"}',
    "system fields": b'{"version": "x", "createdAt": 5, "deletedAt": [], "$id": {}, "$type": 7}',
    "an id elsewhere": b'{"$id": "victim/one"}',
    "an id that climbs": b'{"$id": "posts/../victim/one"}',
    "operators as fields": b'{"$set": {"a": 1}}',
    "names of python": b'{"__class__": "x", "__proto__": {}, "constructor": {"prototype": 1}}',
    "dotted names": b'{"a.b": 1, "a": {"b.c": 2}, "": 3, ".": 4, "$": 5}',
    "many fields": json.dumps({f"f{number}": number for number in range(20_000)}).encode(),
    "markup": b"<?xml version='1.0'?><!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]><a>&b;</a>",
    "a pickle": b"\x80\x04\x95cos\nsystem\n(S'true'\ntR.",
    "msgpack": b"\x81\xa1a\xc7\x01\x01\x00",
}

TAGS = [
    *('{"$date": []}', '{"$date": "never"}', '{"$date": "99999-01-01T00:00:00Z"}', '{"$date": {"$numberLong": "9e9"}}'),
    *('{"$date": {"$numberLong": "999999999999999999999999"}}', '{"$date": 1e300}', '{"$date": {"$date": 1}}'),
    *('{"$numberDecimal": "abc"}', '{"$numberDecimal": 1}', '{"$numberDecimal": "1E+999999999"}'),
    *('{"$numberDecimal": "' + "9" * 100_000 + '"}', '{"$numberDouble": "1e999"}', '{"$numberDouble": {}}'),
    *('{"$binary": {"base64": "!!!"}}', '{"$binary": "AAAA"}', '{"$binary": {"base64": "AAAA", "subType": "zz"}}'),
    *('{"$uuid": 5}', '{"$uuid": "not-one"}', '{"$day": "2026-02-30"}', '{"$day": "0000-01-01"}', '{"$day": null}'),
    *('{"$integer": "0x10"}', '{"$integer": "' + "9" * 100_000 + '"}', '{"$integer": 1.5}', '{"$integer": "١٢"}'),
    *('{"$surrogates": "zz"}', '{"$surrogates": "c0ae"}', '{"$surrogates": 1}', '{"$literal": 5}', '{"$literal": []}'),
    *('{"$numberLong": 1.5}', '{"$numberInt": "99999999999999999999"}', '{"$oid": "x"}', '{"$regex": "("}'),
    *('{"$code": "while(1);"}', '{"$ref": "victim", "$id": "one"}', '{"$date": "2026-01-01T00:00:00Z", "$uuid": "x"}'),
]

ACROSS = 10_000
EXPLOSIONS = {
    "a regex that backtracks": {"title": {"$regex": "(a+)+$"}},
    "a regex that grows": {"title": {"$regex": "((a{1,100}){1,100}){1,100}"}},
    "a regex that is none": {"title": {"$regex": "("}},
    "a long regex": {"title": {"$regex": "a?" * 50_000 + "a" * 50_000}},
    "a regex of the wrong kind": {"title": {"$regex": {"$regex": "a"}, "$options": "zzz"}},
    "a wide $or": {"$or": [{"a": number} for number in range(ACROSS)]},
    "a wide $in": {"a": {"$in": list(range(200_000))}},
    "many conditions": {f"f{number}": number for number in range(ACROSS + 1)},
    "code": {"$where": "while(true){}"},
    "an expression": {"$expr": {"$function": {"body": "x", "args": [], "lang": "js"}}},
    "a wide $all": {"a": {"$all": [{"$elemMatch": {"b": number}} for number in range(5_000)]}},
    "a path without end": {".".join("a" * 20_000): 1},
    "an empty path": {"": 1, "a..b": 1, ".": 2, "$": 3},
    "division by nothing": {"a": {"$mod": [0, 0]}},
    "a size beyond": {"a": {"$size": 10**400}},
}


def nested(operator: str, levels: int) -> bytes:
    """A filter in a filter in a filter, written by hand: a library of ours or of Python's might give up first."""
    around = {
        "$not": (b'{"a": {"$not": ', b"}}"),
        "$and": (b'{"$and": [', b"]}"),
        "$elemMatch": (b'{"$elemMatch": ', b"}"),
    }
    before, after = around[operator]
    inside = b'{"a": {"$gt": 1}}' if operator != "$not" else b'{"$gt": 1}'
    chain = before * levels + inside + after * levels
    return b'{"filter": {"a": ' + chain + b"}}" if operator == "$elemMatch" else b'{"filter": ' + chain + b"}"


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with staged(tmp_path) as made:
        yield made


async def test_a_name_stays_inside_its_namespace_whatever_it_spells(stage: Stage) -> None:
    faults = []
    for name in NAMES:
        for method, target, body in (
            ("POST", b"/v1/" + name, b'{"title": "x"}'),
            ("GET", b"/v1/" + name + b"/documents/one", b""),
            ("GET", b"/v1/posts/documents/" + name, b""),
            ("PUT", b"/v1/posts/documents/" + name, b'{"title": "x"}'),
            ("PATCH", b"/v1/posts/documents/" + name, b'{"$set": {"title": "y"}}'),
            ("DELETE", b"/v1/posts/documents/" + name + b"?hard=true", b""),
            ("POST", b"/v1/posts?id=" + name, b'{"title": "x"}'),
            ("POST", b"/v1/posts/" + name, b"{}"),
            ("GET", b"/v1/" + name + b"/" + name, b""),
            ("GET", b"/" + name, b""),
        ):
            answer = await stage.ask(method, target, body)
            faults += stage.faults_of(answer, (method, target))
            if "x-evil" in answer.headers:
                faults.append(f"a header was smuggled by {target!r}")
    root = stage.folder / "root"
    for path in root.rglob("*"):
        if path.is_file() and "~tmp" not in path.parts:
            check_key(path.relative_to(root).as_posix())
    await stage.check(faults)


async def test_two_spellings_are_two_documents_and_one_spelling_is_one(stage: Stage) -> None:
    pairs = [("cafe\u0301", "caf\u00e9"), ("A", "a"), ("\u212a", "K"), ("a/b", "a%2Fb"), ("x", "x "), (".", ". ")]
    for first, second in pairs:
        for name in (first, second):
            target = f"/v1/posts/documents/{quote(name, safe='')}"
            made = await stage.ask("PUT", target, b'{"n": 1}', {"If-None-Match": "*"})
            assert made.status == 201, (name, made.text)
        found = [
            json.loads((await stage.ask("GET", f"/v1/posts/documents/{quote(name, safe='')}")).body)["$id"]
            for name in (first, second)
        ]
        assert found == [f"posts/{first}", f"posts/{second}"]


async def test_a_body_that_is_no_document_is_refused_and_a_strange_one_is_kept_as_it_is(stage: Stage) -> None:
    faults = []
    for name, body in BODIES.items():
        for method, target in (
            ("POST", "/v1/posts"),
            ("PUT", "/v1/posts/documents/one"),
            ("PATCH", "/v1/posts/documents/one"),
            ("POST", "/v1/posts/find"),
            ("POST", "/v1/posts/batch"),
            ("POST", "/v1/posts/operations"),
        ):
            faults += stage.faults_of(await stage.ask(method, target, body), (name, method, target))
    for name in ("half", "two", "NaN", "deep lists", "deep objects", "UTF-8 that is none", "UTF-16", "a pickle"):
        answer = await stage.ask("POST", "/v1/posts", BODIES[name])
        faults += stage.faults_of(answer, name, statuses=[400])
    await stage.check(faults)


async def test_a_tag_of_the_wrong_kind_is_refused_or_kept_and_every_answer_can_be_read(stage: Stage) -> None:
    faults = []
    for tag in TAGS:
        for method, target, body in (
            ("POST", "/v1/posts", f'{{"a": {tag}}}'),
            ("POST", "/v1/posts", f'{{"a": [{{"b": {tag}}}]}}'),
            ("POST", "/v1/posts/find", f'{{"filter": {{"a": {tag}}}}}'),
            ("POST", "/v1/posts/update", f'{{"id": "one", "ops": {{"$set": {{"a": {tag}}}}}}}'),
            ("POST", "/v1/posts/operations", f'{{"operations": [{{"op": "create", "data": {{"a": {tag}}}}}]}}'),
            ("POST", "/v1/posts/get", f'{{"id": {tag}}}'),
            ("POST", "/v1/posts/find", f'{{"limit": {tag}, "cursor": {tag}, "sort": {tag}}}'),
        ):
            answer = await stage.ask(method, target, body.encode())
            faults += stage.faults_of(answer, (method, target, body[:150]))
            json.loads(answer.body)
    await stage.check(faults)


async def test_a_filter_that_explodes_is_refused_or_answered_in_time(stage: Stage) -> None:
    text = json.dumps({"title": "a" * 5_000 + "b", "a": [{"b": number} for number in range(500)]})
    assert (await stage.ask("POST", "/v1/posts", text.encode())).status == 201
    requests = {name: json.dumps({"filter": filter_}).encode() for name, filter_ in EXPLOSIONS.items()}
    for operator in ("$and", "$not", "$elemMatch"):
        requests |= {f"{operator} {levels} deep": nested(operator, levels) for levels in (50, 1_000, 100_000)}
    unwinds = [{"$unwind": "$a"}] * 2 + [{"$group": {"_id": None, "all": {"$push": "$$ROOT"}}}] * 50
    faults = []
    loop = asyncio.get_running_loop()
    for name, body in requests.items():
        for method in ("find", "count", "delete_many", "explain"):
            began_s = loop.time()
            answer = await stage.ask("POST", f"/v1/posts/{method}", body, {"Request-Timeout": "5"})
            faults += stage.faults_of(answer, (name, method))
            if loop.time() - began_s > 6:
                faults.append(f"{name}, {method}: {loop.time() - began_s:.1f} s")
    for pipeline in (unwinds, [{"$unwind": "$a"}] * 5_000, [{"$lookup": {"from": "victim"}}], [{"$out": "victim"}]):
        body = json.dumps({"pipeline": pipeline}).encode()
        faults += stage.faults_of(await stage.ask("POST", "/v1/posts/aggregate", body), pipeline[:1])
    await stage.check(faults)


async def test_numbers_and_moments_that_are_none_are_refused(stage: Stage) -> None:
    values = ["-1", "0", "1e9", "9" * 400, "0x10", "٣", "NaN", "", " 1", "1;2", "[1]", "null", "true", "%00", "-" * 50]
    faults = []
    for value in map(quote, values):
        for name in ("limit", "skip", "as_of", "total", "include_deleted", "cursor", "filter", "sort", "fields"):
            answer = await stage.ask("GET", f"/v1/posts?{name}={value}")
            faults += stage.faults_of(answer, (name, value))
        for name in ("If-Match", "If-None-Match", "Request-Timeout", "Idempotency-Key", "X-Request-Id", "traceparent"):
            answer = await stage.ask("PUT", "/v1/posts/documents/one", b'{"a": 1}', {name: value})
            faults += stage.faults_of(answer, (name, value))
    for key in ("k" * 10_000, "a\tb", "\xe9"):
        answer = await stage.ask("POST", "/v1/posts", b"{}", {"Idempotency-Key": key})
        faults += stage.faults_of(answer, ("Idempotency-Key", key))
    await stage.check(faults)


async def test_what_is_packed_or_called_something_else_is_not_unpacked(stage: Stage) -> None:
    packer = zlib.compressobj(wbits=16 + zlib.MAX_WBITS)
    packed = [packer.compress(b'{"a": "'), *(packer.compress(b"x" * (1 << 20)) for _ in range(200)), packer.flush()]
    bomb = b"".join(packed)
    faults = []
    for headers in (
        {"Content-Encoding": "gzip"},
        {"Content-Encoding": "br"},
        {"Content-Encoding": "gzip, gzip, gzip"},
        {"Content-Type": "application/gzip"},
        {"Content-Type": "multipart/form-data; boundary=x"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "application/json; charset=utf-16"},
        {"Content-Type": "application/json; " + "a=b; " * 2_000},
        {"Content-Type": "\xff\xfe"},
        {"Content-Type": ""},
    ):
        answer = await stage.ask("POST", "/v1/posts", bomb, headers)
        faults += stage.faults_of(answer, headers, statuses=[400, 413, 415, 431])
    await stage.check(faults)


async def test_a_body_beyond_the_limit_is_refused_before_it_is_read(tmp_path: Path) -> None:
    async with staged(tmp_path, body_bytes_max=64 * 1024) as stage:
        body = json.dumps({"a": os.urandom(64 * 1024).hex()}).encode()
        said = await stage.ask("POST", "/v1/posts", body)
        lied = await stage.ask("POST", "/v1/posts", b"", {"Content-Length": "99999999999999999999"})
        faults = stage.faults_of(said, "too large", statuses=[413])
        faults += stage.faults_of(lied, "a length beyond", statuses=[400, 413])
        await stage.check(faults)
