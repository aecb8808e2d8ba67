"""If-Match and If-None-Match, by themselves and on writes."""

import httpx
import pytest
from starlette.datastructures import Headers

from parquedb.cluster.gateway.conditions import Conditions, Tags
from parquedb.errors import InvalidInputError

PATH = "/v1/posts/documents/x"


@pytest.mark.parametrize(
    ("lines", "strong", "weak"),
    [
        (['"3"'], {"3"}, set()),
        (['"3", W/"4"'], {"3"}, {"4"}),
        (['"a,b"', ' W/"c" ,,"d"'], {"a,b", "d"}, {"c"}),
        (['""'], {""}, set()),
    ],
)
def test_lists_of_tags_are_read(lines: list[str], strong: set[str], weak: set[str]) -> None:
    tags = Tags.read("If-Match", lines)
    assert tags is not None
    assert (tags.strong, tags.weak, tags.anything) == (strong, weak, False)


@pytest.mark.parametrize("text", ["", "3", '"3', 'w/"3"', '"3" "4"', '*, "3"', '"a b"', '"1"' + ',"1"' * 100])
def test_what_is_no_list_of_tags_is_refused_and_never_ignored(text: str) -> None:
    with pytest.raises(InvalidInputError, match="If-Match"):
        Tags.read("If-Match", [text])


def test_without_the_fields_there_is_no_condition() -> None:
    assert Conditions.of(Headers({})) == Conditions(None, None)


@pytest.mark.parametrize(("text", "versions"), [('"3","03","x","0"', {3}), ('W/"3"', set()), ("*", set())])
def test_only_strong_tags_of_ours_are_versions(text: str, versions: set[int]) -> None:
    tags = Tags.read("If-Match", [text])
    assert tags is not None
    assert tags.versions() == versions


@pytest.fixture
async def at_version_2(client: httpx.AsyncClient) -> httpx.AsyncClient:
    await client.post("/v1/posts", json={"n": 1}, params={"id": "x"})
    await client.patch(PATH, json={"$set": {"n": 2}})
    return client


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"If-None-Match": '"2"'}, 304),
        ({"If-None-Match": 'W/"2"'}, 304),
        ({"If-None-Match": '"1", "2"'}, 304),
        ({"If-None-Match": "*"}, 304),
        ({"If-None-Match": '"1"'}, 200),
        ({"If-Match": '"2"'}, 200),
        ({"If-Match": "*"}, 200),
        ({"If-Match": '"1"'}, 412),
        ({"If-Match": 'W/"2"'}, 412),
        ({"If-Match": '"1"', "If-None-Match": '"2"'}, 412),
        ({"If-None-Match": "2"}, 400),
    ],
)
async def test_reads_under_a_condition(at_version_2: httpx.AsyncClient, headers: dict[str, str], status: int) -> None:
    for method in ("GET", "HEAD"):
        answer = await at_version_2.request(method, PATH, headers=headers)
        assert answer.status_code == status
        if status in {200, 304}:
            assert answer.headers["etag"] == '"2"'
        if status == 304:
            assert answer.content == b""


WRITES = [("PUT", {"n": 9}), ("PATCH", {"$set": {"n": 9}}), ("DELETE", None)]


@pytest.mark.parametrize(("method", "body"), WRITES)
@pytest.mark.parametrize(
    ("headers", "applied"),
    [
        ({"If-Match": '"2"'}, True),
        ({"If-Match": '"1", "2", "7"'}, True),
        ({"If-Match": "*"}, True),
        ({"If-None-Match": '"1", W/"7"'}, True),
        ({"If-Match": '"2"', "If-None-Match": '"1"'}, True),
        ({"If-Match": '"1"'}, False),
        ({"If-Match": '"3", "9"'}, False),
        ({"If-Match": 'W/"2"'}, False),
        ({"If-Match": '"two"'}, False),
        ({"If-None-Match": '"2"'}, False),
        ({"If-None-Match": 'W/"2"'}, False),
        ({"If-None-Match": "*"}, False),
        ({"If-Match": '"1"', "If-None-Match": '"7"'}, False),
    ],
)
async def test_writes_under_a_condition(
    at_version_2: httpx.AsyncClient, method: str, body: object, headers: dict[str, str], applied: bool
) -> None:
    answer = await at_version_2.request(method, PATH, json=body, headers=headers)
    left = await at_version_2.get(PATH, params={"include_deleted": "1"})
    if applied:
        assert answer.status_code in {200, 204}
        assert left.json()["version"] == 3
    else:
        assert (answer.status_code, answer.json()["code"]) == (412, "ETAG_MISMATCH")
        assert (left.json()["version"], left.json()["n"]) == (2, 2)


@pytest.mark.parametrize(("method", "body"), WRITES)
@pytest.mark.parametrize("tag", ['"1"', "*", '"1", "2"'])
async def test_nothing_matches_where_there_is_no_document(
    client: httpx.AsyncClient, method: str, body: object, tag: str
) -> None:
    answer = await client.request(method, PATH, json=body, headers={"If-Match": tag}, params=[])
    assert (answer.status_code, answer.json()["code"]) == (412, "ETAG_MISMATCH")
    assert (await client.get(PATH)).status_code == 404


async def test_if_match_of_anything_keeps_an_upsert_from_inserting(client: httpx.AsyncClient) -> None:
    answer = await client.patch(PATH, json={"$set": {"n": 1}}, params={"upsert": "1"}, headers={"If-Match": "*"})
    assert answer.status_code == 412
    assert (await client.get(PATH)).status_code == 404


async def test_put_makes_a_document_only_if_there_is_none(client: httpx.AsyncClient) -> None:
    made = await client.put(PATH, json={"n": 1}, headers={"If-None-Match": "*"})
    assert (made.status_code, made.headers["location"], made.headers["etag"]) == (201, PATH, '"1"')
    again = await client.put(PATH, json={"n": 2}, headers={"If-None-Match": "*"})
    assert (again.status_code, again.json()["code"]) == (412, "ETAG_MISMATCH")
    assert (await client.get(PATH)).json()["n"] == 1


async def test_an_expected_version_in_a_body_is_a_conflict_and_not_a_precondition(
    at_version_2: httpx.AsyncClient,
) -> None:
    answer = await at_version_2.post(
        "/v1/posts/update", json={"id": "x", "ops": {"$set": {"n": 3}}, "expected_version": 1}
    )
    assert (answer.status_code, answer.json()["code"]) == (409, "VERSION_CONFLICT")
    assert answer.json()["error"]["context"]["actual"] == 2


async def test_a_repeat_of_a_conditional_write_is_answered_alike(at_version_2: httpx.AsyncClient) -> None:
    headers = {"If-Match": '"1", "2"', "Idempotency-Key": "k"}
    answers = [await at_version_2.patch(PATH, json={"$inc": {"n": 1}}, headers=headers) for _ in range(2)]
    assert [one.status_code for one in answers] == [200, 200]
    assert [one.json()["n"] for one in answers] == [3, 3]
