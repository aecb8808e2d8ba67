"""Writes by filter: whole or not at all, decided against the newest state, compared with mongomock."""

import asyncio
import copy
import random
import tracemalloc
from decimal import Decimal
from typing import Any

import mongomock
import pytest

from parquedb.actors.engine import NamespaceEngine
from parquedb.actors.requests.operations import CREATES, Operation, Outcome, SessionRequest
from parquedb.actors.requests.packing import decode_operations, encode_operations
from parquedb.errors import (
    AlreadyExistsError,
    InvalidFilterError,
    InvalidUpdateError,
    QuotaExceededError,
    ValidationError,
)
from parquedb.storage.backend import ObjectInfo
from parquedb.storage.backends.delegating import DelegatingBackend
from parquedb.storage.backends.memory import MemoryBackend
from tests.support.engines import opened, outcome, run


@pytest.fixture
def store() -> MemoryBackend:
    return MemoryBackend()


async def update_many(owner: NamespaceEngine, where: Any, ops: Any, **more: Any) -> tuple[int, int]:
    answer = await run(owner, "update_many", None, ops, filter=where, **more)
    return answer["matched"], answer["modified"]


async def filled(owner: NamespaceEngine, where: str) -> None:
    for number in range(10):
        await run(owner, "create", f"d{number}", {"n": number, "even": number % 2 == 0})
        if where == "mixed" and number == 6:
            await owner.flush()
    if where == "files":
        await owner.flush()


@pytest.mark.parametrize("where", ["memory", "files", "mixed"])
async def test_every_match_takes_one_step_and_the_rest_none(store: MemoryBackend, where: str) -> None:
    async with opened(store) as owner:
        await filled(owner, where)
        assert await update_many(owner, {"even": True}, {"$inc": {"n": 100}}) == (5, 5)
        found = (await run(owner, "find"))["items"]
        assert [one["n"] for one in found] == [100, 1, 102, 3, 104, 5, 106, 7, 108, 9]
        assert [one["version"] for one in found] == [2, 1] * 5
        # What is set to what it is stays as it is; 1.0 is not 1.
        assert await update_many(owner, {"n": {"$lt": 5}}, {"$set": {"n": 1}}) == (2, 1)
        assert await update_many(owner, {"n": 1}, {"$set": {"n": 1.0}}) == (2, 2)
        assert await run(owner, "delete_many", filter={"n": 1}) == 2
        assert await run(owner, "count") == 8
        assert await run(owner, "delete_many", filter={"n": 1}) == 0, "deleted ones do not match"
        assert await run(owner, "delete_many", hard=True) == 8
    async with opened(store) as successor:
        assert await run(successor, "count") == 0
        assert await run(successor, "count", include_deleted=True) == 2


async def test_an_upsert_changes_the_first_match_or_inserts_what_the_filter_says(store: MemoryBackend) -> None:
    async with opened(store) as owner:
        await filled(owner, "mixed")
        assert (await run(owner, "upsert", None, {"$set": {"seen": True}}, filter={"even": False})) == {
            "matched": 1,
            "modified": 1,
            "upserted_id": None,
        }
        assert (await run(owner, "get", "d1"))["seen"] is True
        assert "seen" not in await run(owner, "get", "d3")
        answer = await run(owner, "upsert", None, {"$set": {"a.b": 2}}, filter={"k": 7, "x": {"$gt": 3}})
        assert (answer["matched"], answer["modified"]) == (0, 0)
        made = await run(owner, "get", answer["upserted_id"].partition("/")[2])
        assert (made["k"], made["a"], made["version"], "x" in made) == (7, {"b": 2}, 1, False)
        again = await run(owner, "update_many", None, {"$inc": {"k": 1}}, filter={"$id": "posts/new"}, upsert=True)
        assert again["upserted_id"] == "posts/new"
        assert (await run(owner, "get", "new"))["k"] == 1


async def test_what_other_writes_do_meanwhile_is_seen(store: MemoryBackend) -> None:
    """The sum over all documents tells: every increment meets each document exactly once, whenever it was made."""
    async with opened(store, group_ops_max=8, flush_rows=30) as owner:
        await filled(owner, "files")
        added = 0

        async def grow() -> None:
            nonlocal added
            for number in range(40):
                await run(owner, "create", f"g{number}", {"n": 0, "all": 0})
                await run(owner, "update", f"g{number}", {"$set": {"late": number}})

        async def raise_all() -> None:
            for _ in range(15):
                before = await run(owner, "count", filter={"all": {"$exists": True}})
                matched, modified = await update_many(owner, {"all": {"$exists": True}}, {"$inc": {"all": 1}})
                after = await run(owner, "count", filter={"all": {"$exists": True}})
                assert before <= matched == modified <= after
                nonlocal added
                added += modified
                await asyncio.sleep(0)

        await asyncio.gather(grow(), raise_all())
        total = await run(owner, "aggregate", pipeline=[{"$group": {"_id": None, "sum": {"$sum": "$all"}}}])
        assert total[0]["sum"] == added


class Gate(DelegatingBackend):
    """Holds commits back until told to go on."""

    def __init__(self, inner: MemoryBackend) -> None:
        super().__init__(inner)
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def create(self, key: str, data: bytes, *, timeout_s: float | None = None) -> ObjectInfo:
        await self.go_on.wait()
        return await self.inner.create(key, data, timeout_s=timeout_s)


async def behind_a_commit(owner: NamespaceEngine, gate: Gate, operations: list[Operation]) -> list[Any]:
    """Run operations so that queries among them see what is committed now, and writes are decided in one group."""
    gate.go_on.clear()
    commit = asyncio.ensure_future(run(owner, "create", "first", {}))
    while owner.stats()["queued_ops"] < 1:
        await asyncio.sleep(0)
    together = asyncio.ensure_future(owner.execute(operations))
    while owner.stats()["queued_ops"] < 1 + sum(operation.count for operation in operations):
        await asyncio.sleep(0)
    gate.go_on.set()
    await commit
    return [each.result() for each in await together]


@pytest.mark.parametrize("where", ["memory", "files"])
async def test_what_changes_between_query_and_decision_counts(store: MemoryBackend, where: str) -> None:
    gate = Gate(store)
    async with opened(gate, read_lease_s=30) as owner:
        await filled(owner, where)
        *_, answer = await behind_a_commit(
            owner,
            gate,
            [
                Operation("update", "d1", {"$set": {"even": True}}),
                Operation("update", "d2", {"$set": {"even": False}}),
                Operation("delete", "d4"),
                Operation("create", "d99", {"n": 99, "even": True}),
                Operation("update_many", None, {"$set": {"met": 1}}, {"filter": {"even": True}}),
            ],
        )
        met = (await run(owner, "find", filter={"met": 1}))["items"]
        assert [one["$id"] for one in met] == [f"posts/d{name}" for name in (0, 1, 6, 8, 99)]
        assert (answer["matched"], answer["modified"]) == (5, 5)


async def test_many_who_take_the_first_each_take_another(store: MemoryBackend) -> None:
    async with opened(store) as owner:
        for number in range(100):
            await run(owner, "create", f"j{number:03}", {"state": "new"})
        await owner.flush()
        taken = await asyncio.gather(
            *(run(owner, "upsert", None, {"$set": {"state": by}}, filter={"state": "new"}) for by in range(120))
        )
        assert sum(each["matched"] for each in taken) == 100
        assert sum(each["upserted_id"] is not None for each in taken) == 20
        assert sorted(await run(owner, "distinct", field="state")) == list(range(120))


@pytest.mark.parametrize("deleted", [False, True])
async def test_an_upsert_under_an_id_that_is_taken_is_refused(store: MemoryBackend, deleted: bool) -> None:
    async with opened(store) as owner:
        await filled(owner, "files")
        if deleted:
            await run(owner, "delete", "d1")
            await owner.flush()
        with pytest.raises(AlreadyExistsError):
            await run(owner, "upsert", None, {"$set": {"x": 1}}, filter={"$id": "posts/d1", "n": 77}, timeout_s=5.0)
        assert await run(owner, "count", filter={"x": 1}) == 0


@pytest.mark.parametrize("named", [{"a": 1}, 5, Decimal("1.10"), True, None, ["d1"]])
async def test_an_upsert_under_an_id_that_is_no_text_is_refused_by_itself(store: MemoryBackend, named: object) -> None:
    async with opened(store) as owner:
        wrong = Operation("upsert", None, {"$set": {"x": 1}}, {"filter": {"$id": named}})
        beside = Operation("create", "beside", {"x": 1})
        refused, made = await owner.execute([wrong, beside])
        assert isinstance(refused.error, ValidationError)
        assert made.result()["$id"] == "posts/beside"


async def test_what_is_too_large_for_one_entry_is_refused_whole(store: MemoryBackend) -> None:
    async with opened(store, group_bytes_max=4096) as owner:
        await filled(owner, "mixed")
        with pytest.raises(QuotaExceededError, match="documents would change, together more than the 4,096 bytes"):
            await update_many(owner, None, {"$set": {"text": "x" * 500}})
        assert await run(owner, "count", filter={"version": 1}) == 10
        assert await update_many(owner, {"n": {"$lt": 5}}, {"$set": {"text": "x" * 500}}) == (5, 5)


async def test_an_update_that_makes_many_documents_large_is_refused_before_it_has_made_them_all(
    store: MemoryBackend,
) -> None:
    async with opened(store, group_bytes_max=4_000_000) as owner:
        await run(owner, "create_many", None, [{"a": []} for _ in range(60)])
        tracemalloc.start()
        try:
            with pytest.raises(QuotaExceededError, match="bytes that one write may log"):
                await update_many(owner, None, {"$set": {"a.1000000": 1}})
            # All of them would be 480 MB; each that is made takes some 30 MB on its way.
            assert tracemalloc.get_traced_memory()[1] < 200_000_000
        finally:
            tracemalloc.stop()
        assert await run(owner, "count", filter={"version": 1}) == 60


async def orders(owner: NamespaceEngine) -> None:
    await run(owner, "create", "a", {"lines": [{"sku": "x", "n": 1}, {"sku": "y", "n": 2}], "tags": ["p", "q"]})
    await owner.flush()
    await run(owner, "create", "b", {"lines": [{"sku": "y", "n": 3}], "tags": ["q"]})


async def lines(owner: NamespaceEngine) -> list[list[int]]:
    return [[line["n"] for line in one["lines"]] for one in (await run(owner, "find"))["items"]]


async def test_array_filters_choose_elements_in_every_document(store: MemoryBackend) -> None:
    async with opened(store) as owner:
        await orders(owner)
        ops, filters = {"$inc": {"lines.$[line].n": 10}}, [{"line.sku": "y"}]
        assert await update_many(owner, None, ops, array_filters=filters) == (2, 2)
        assert await lines(owner) == [[1, 12], [13]]
        answer = await run(owner, "upsert", None, ops, filter={"tags": "p"}, array_filters=filters)
        assert (answer["matched"], answer["modified"]) == (1, 1)
        assert (await run(owner, "update", "b", ops, array_filters=[{"line.n": {"$gt": 12}}]))["lines"][0]["n"] == 23
        assert await update_many(owner, None, ops, array_filters=[{"line.sku": "z"}]) == (2, 0)
        with pytest.raises(InvalidUpdateError, match="needs an array at 'lines', which holds nothing"):
            await run(owner, "update", "c", ops, array_filters=filters, upsert=True)
        expected = await lines(owner)
    async with opened(store) as successor:
        assert await lines(successor) == expected == [[1, 22], [23]]


async def test_an_upsert_applies_array_filters_to_what_its_filter_gives(store: MemoryBackend) -> None:
    async with opened(store) as owner:
        ops, filters = {"$set": {"a.$[i]": 2}}, [{"i": 0}]
        answer = await run(owner, "upsert", None, ops, filter={"a": [0, 1]}, array_filters=filters)
        assert (await run(owner, "get", answer["upserted_id"].partition("/")[2]))["a"] == [2, 1]


async def test_the_positional_operator_takes_the_element_that_matched_in_each_document(store: MemoryBackend) -> None:
    async with opened(store) as owner:
        await orders(owner)
        assert await update_many(owner, {"lines.sku": "y"}, {"$inc": {"lines.$.n": 10}}) == (2, 2)
        assert await lines(owner) == [[1, 12], [13]]
        where = {"tags": "q", "lines": {"$elemMatch": {"sku": "y", "n": {"$lt": 13}}}}
        answer = await run(owner, "upsert", None, {"$set": {"lines.$.n": 0, "tags.$": "r"}}, filter=where)
        assert answer == {"matched": 1, "modified": 1, "upserted_id": None}
        assert (await run(owner, "get", "a"))["tags"] == ["p", "r"]
        assert await lines(owner) == [[1, 0], [13]]
        with pytest.raises(InvalidUpdateError, match="needs an array at 'lines', which holds nothing"):
            await run(owner, "upsert", None, {"$set": {"lines.$.n": 0}}, filter={"lines.sku": {"$gt": "z"}})
        assert await run(owner, "count") == 2


def large(number: int) -> dict[str, Any]:
    return {"n": number, "parts": [f"{number}-{part:04d}" for part in range(1000)]}


@pytest.mark.parametrize("kind", ["update_many", "batch"])
async def test_documents_that_would_not_fit_into_memory_are_not_read_to_the_end(
    store: MemoryBackend, kind: str
) -> None:
    async with opened(store, query_memory_max=1 << 20, cache_bytes_max=0) as owner:
        for number in range(600):
            await run(owner, "create", f"d{number:03d}", large(number))
        await owner.flush()
        assert await update_many(owner, {"n": {"$lt": 5}}, {"$inc": {"n": 0}}) == (5, 0)
        operations = [["update", f"d{n:03d}", {"$inc": {"n": 1000}}, {}] for n in range(600)]
        parts = [Operation(*part).to_wire() for part in operations]
        writing = run(owner, "batch", None, parts) if kind == "batch" else update_many(owner, {}, {"$inc": {"n": 1000}})
        tracemalloc.start()
        try:
            with pytest.raises(
                QuotaExceededError, match=rf"{kind}: the documents it looks at take more than the 1,048,576 bytes"
            ):
                await writing
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        # All of them would take some 60 MB.
        assert peak < 20 << 20
        assert await run(owner, "count", filter={"version": 1}) == 600
        assert await update_many(owner, {"n": {"$lt": 5}}, {"$inc": {"n": 1000}}) == (5, 5)


async def test_a_filter_over_fields_that_would_not_fit_into_memory_is_refused(store: MemoryBackend) -> None:
    async with opened(store, query_memory_max=64 << 10) as owner:
        for number in range(20):
            await run(owner, "create", f"d{number:02d}", {"text": "x" * 10_000})
        await owner.flush()
        with pytest.raises(
            QuotaExceededError, match="update_many: what the filter looks at takes more than the 65,536 bytes"
        ):
            await update_many(owner, {"text": {"$regex": "x$"}}, {"$set": {"n": 1}})
        assert await run(owner, "count", filter={"version": 1}) == 20


async def test_writes_that_come_together_read_no_more_than_fits_at_a_time_and_all_happen(store: MemoryBackend) -> None:
    async with opened(store, query_memory_max=64 << 10) as owner:
        for number in range(30):
            await run(owner, "create", f"d{number:02d}", {"n": number, "text": "x" * 20_000})
        # Larger than the limit by itself.
        await run(owner, "create", "huge", {"n": 0, "text": "x" * 100_000})
        await owner.flush()
        changes = [run(owner, "update", f"d{number:02d}", {"$inc": {"n": 100}}) for number in range(30)]
        documents = await asyncio.gather(*changes, run(owner, "update", "huge", {"$inc": {"n": 100}}))
        assert [one["version"] for one in documents] == [2] * 31
        assert await run(owner, "count", filter={"n": {"$gte": 100}}) == 31


async def test_a_document_created_in_the_same_group_is_met(store: MemoryBackend) -> None:
    gate = Gate(store)
    async with opened(gate, read_lease_s=30) as owner:
        await filled(owner, "memory")
        creates = [
            Operation("create", None, {"n": -1, "k": k}, request=SessionRequest(b"1" * 16, k + 1, 1, 0), size=50)
            for k in range(3)
        ]
        [packed] = decode_operations(encode_operations(creates))
        assert packed.kind == CREATES
        many = Operation("update_many", None, {"$set": {"met": True}}, {"filter": {"n": {"$lt": 5}}})
        _, answer = await behind_a_commit(owner, gate, [packed, many])
        assert answer == {"matched": 8, "modified": 8, "upserted_id": None}
        assert await run(owner, "count", filter={"met": True}) == 8


@pytest.mark.parametrize("how", ["at once", "restarted", "folded"])
async def test_a_repeated_request_answers_the_same_and_changes_nothing(store: MemoryBackend, how: str) -> None:
    async def raised(owner: NamespaceEngine, age_s: float = 0.0) -> Outcome:
        ops, where = {"$inc": {"n": 1}}, {"even": True}
        return await outcome(owner, "update_many", None, ops, request="mine", age_s=age_s, filter=where)

    async with opened(store, checkpoint_entries_max=1 if how == "folded" else 64) as owner:
        await filled(owner, "mixed")
        first = await raised(owner)
        if how == "at once":
            again = await raised(owner, age_s=1.0)
            assert (again.value, again.duplicate) == (first.value, True)
        if how == "folded":
            await owner.flush()
    async with opened(store) as successor:
        again = await raised(successor, age_s=1.0)
        assert (again.value, again.duplicate) == (first.value, True)
        assert [one["n"] for one in (await run(successor, "find", filter={"even": True}))["items"]] == [1, 3, 5, 7, 9]


async def test_refusals_name_the_mistake_and_change_nothing(store: MemoryBackend) -> None:
    async with opened(store, many_documents_max=4) as owner:
        await filled(owner, "mixed")
        before = (await run(owner, "find"))["items"]
        for kind, body, options, error, said in (
            ("update_many", {"$inc": {"n": 1}}, {}, QuotaExceededError, "matches 10 documents, more than the 4"),
            ("update_many", {"$inc": {"even": 1}}, {"filter": {"n": {"$lt": 3}}}, InvalidUpdateError, "holds bool"),
            ("update_many", {"$frob": {"n": 1}}, {"filter": {"n": 1}}, InvalidUpdateError, "no update operator"),
            ("delete_many", None, {"filter": {"n": {"$frob": 1}}}, InvalidFilterError, "no filter operator"),
            ("upsert", {"$set": {"version": 1}}, {"filter": {"n": 1}}, InvalidUpdateError, "only the database"),
            ("upsert", {"$set": {"x": 1}}, {"filter": {"a": 1, "a.b": 2}}, InvalidFilterError, "gives a value above"),
        ):
            with pytest.raises(error, match=said):
                await run(owner, kind, None, body, **options)
        assert (await run(owner, "find"))["items"] == before
        assert owner.stats()["queued_ops"] == 0


async def test_one_document_that_would_be_too_large_stops_all(store: MemoryBackend) -> None:
    async with opened(store, document_bytes_max=2048) as owner:
        await filled(owner, "memory")
        await run(owner, "update", "d4", {"$set": {"text": "x" * 1500}})
        with pytest.raises(ValidationError, match="a document of at most 2,048 bytes"):
            await update_many(owner, None, {"$set": {"more": "y" * 600}})
        assert await run(owner, "count", filter={"more": {"$exists": True}}) == 0


@pytest.mark.parametrize("seed", range(6))
async def test_random_sequences_come_to_what_mongomock_says(store: MemoryBackend, seed: int) -> None:
    rng = random.Random(seed)
    oracle = mongomock.MongoClient().db.posts
    async with opened(store) as owner:
        for number in range(20):
            document = {"n": rng.randrange(6), "tags": [rng.choice("abc") for _ in range(rng.randrange(3))]}
            await run(owner, "create", f"d{number:02}", copy.deepcopy(document))
            oracle.insert_one({"_id": f"posts/d{number:02}", **document})
        for _ in range(25):
            if rng.random() < 0.3:
                await owner.flush()
            filter_ = rng.choice(
                [{"n": rng.randrange(6)}, {"tags": rng.choice("abc")}, {"n": {"$gte": 3}, "tags": "a"}]
            )
            ops = rng.choice([{"$inc": {"n": 1}}, {"$set": {"n": rng.randrange(6)}}, {"$unset": {"tags": ""}}])
            if rng.random() < 0.1:
                assert (
                    await run(owner, "delete_many", filter=filter_, hard=True)
                    == oracle.delete_many(filter_).deleted_count
                )
            else:
                theirs = oracle.update_many(filter_, ops)
                assert await update_many(owner, filter_, ops) == (theirs.matched_count, theirs.modified_count)
        ours = {one["$id"]: (one.get("n"), one.get("tags")) for one in (await run(owner, "find", limit=1000))["items"]}
        assert ours == {one["_id"]: (one.get("n"), one.get("tags")) for one in oracle.find()}
