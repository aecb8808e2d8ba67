"""Lists of operations in one request."""

from typing import Any

import httpx
import pytest

from tests.support.engine_database import EngineDatabase


async def results(client: httpx.AsyncClient, *operations: Any) -> list[dict[str, Any]]:
    answer = await client.post("/v1/posts/operations", json={"operations": operations})
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["results"]
    return found


async def test_each_operation_is_for_itself(client: httpx.AsyncClient) -> None:
    first, second, third, fourth = await results(
        client,
        {"op": "create", "data": {"n": 1}, "id": "a"},
        {"op": "create", "data": {"n": 2}, "id": "a"},
        {"op": "nonsense"},
        5,
    )
    assert (first["ok"], first["value"]["$id"], first["seq"], first["duplicate"]) == (True, "posts/a", 1, False)
    assert (second["ok"], second["error"]["code"]) == (False, "ALREADY_EXISTS")
    assert "operations[2].op" in third["error"]["message"]
    assert "operations[3]" in fourth["error"]["message"]


async def test_operations_are_started_in_their_order(client: httpx.AsyncClient, database: EngineDatabase) -> None:
    await results(client, *({"op": "create", "data": {}, "id": f"d{n}"} for n in range(20)))
    assert [operation.id for _, operation, _ in database.asked] == [f"d{n}" for n in range(20)]


async def test_a_repeat_under_its_request_id_is_told_as_one(client: httpx.AsyncClient) -> None:
    operation = {"op": "create", "data": {"n": 1}, "request_id": "r1"}
    [first], [second] = await results(client, operation), await results(client, {**operation, "age_s": 1.5})
    assert first["value"] == second["value"]
    assert (first["duplicate"], second["duplicate"]) == (False, True)


async def test_an_operation_has_a_deadline_and_an_age_of_its_own(
    client: httpx.AsyncClient, database: EngineDatabase
) -> None:
    await results(
        client,
        {"op": "create", "data": {}, "timeout_s": 2.5, "age_s": 4.0},
        {"op": "create", "data": {}, "timeout_s": 1e9},
        {"op": "create", "data": {}},
    )
    (_, first, first_s), (_, _, second_s), (_, third, third_s) = database.asked
    assert (first_s, first.age_s, third.age_s) == (2.5, 4.0, 0.0)
    assert second_s is not None
    assert third_s is not None
    assert 29 < second_s <= 30
    assert 29 < third_s <= 30


@pytest.mark.parametrize("envelope", [{"timeout_s": "x"}, {"timeout_s": -1}, {"age_s": True}, {"traceparent": 5}])
async def test_an_envelope_that_is_none_is_refused(client: httpx.AsyncClient, envelope: dict[str, Any]) -> None:
    [one] = await results(client, {"op": "create", "data": {}, **envelope})
    assert one["error"]["code"] == "VALIDATION_FAILED"
    assert f"operations[0].{next(iter(envelope))}" in one["error"]["message"]


@pytest.mark.parametrize("body", [{}, {"operations": {}}, {"operations": [], "more": 1}, []])
async def test_what_is_no_list_of_operations_is_refused_as_a_whole(client: httpx.AsyncClient, body: Any) -> None:
    answer = await client.post("/v1/posts/operations", json=body)
    assert answer.status_code == 400


async def test_an_error_that_nobody_foresaw_leaves_the_other_answers(
    client: httpx.AsyncClient, database: EngineDatabase
) -> None:
    database.refuse.append(RuntimeError("secret inside"))
    first, second = await results(client, {"op": "create", "data": {}}, {"op": "create", "data": {}})
    assert (first["ok"], first["error"]["code"], second["ok"]) == (False, "INTERNAL", True)
    assert "secret" not in str(first)


async def test_values_keep_their_types_and_errors_stay_plain(client: httpx.AsyncClient) -> None:
    document = {"$literal": {"$odd": 1}}
    [made] = await results(client, {"op": "create", "data": {"at": {"$date": "2026-01-02T03:04:05Z"}, "x": document}})
    assert made["value"]["at"] == {"$date": "2026-01-02T03:04:05.000000Z"}
    assert made["value"]["x"] == document
    [refused] = await results(client, {"op": "update", "id": "none", "ops": {"$set": {"a": 1}}})
    assert refused["error"]["context"] == {"id": "none", "namespace": "posts"}
