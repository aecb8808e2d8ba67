"""Answers remembered for retries hold a bounded number of bytes, and are whole again when asked for."""

import gc

from parquedb.actors.requests.operations import SessionRequest
from parquedb.actors.state.sessions import Receipt
from parquedb.actors.state.whole_answers import WholeAnswers
from parquedb.storage.backends.memory import MemoryBackend
from tests.support.engines import opened, outcome, run


def receipt(number: int, size: int) -> Receipt:
    return Receipt("update", number, {"$id": f"posts/{number}", "version": 2, "text": "x"}, size=size)


def test_beyond_the_bound_the_oldest_answers_keep_only_what_names_their_documents() -> None:
    whole = WholeAnswers(3000)
    receipts = [receipt(number, 1000) for number in range(5)]
    for each in receipts:
        each.note_in(whole)
    assert [each.thin for each in receipts] == [True, True, False, False, False]
    assert receipts[0].value == {"$id": "posts/0", "version": 2}
    assert whole.bytes == 3000
    batch = Receipt("batch", 9, [{"$id": "posts/a", "version": 1, "n": 1}, 1], size=5000)
    batch.note_in(whole)
    assert batch.value == [{"$id": "posts/a", "version": 1}, 1]
    assert whole.bytes == 0


def test_answers_without_documents_are_not_counted_and_forgotten_ones_only_for_a_while() -> None:
    whole = WholeAnswers(10_000)
    Receipt("delete", 1, 1).note_in(whole)
    assert whole.bytes == 0
    forgotten = receipt(1, 1000)
    forgotten.note_in(whole)
    del forgotten
    gc.collect()
    kept = receipt(2, 1000)
    kept.note_in(whole)
    assert whole.bytes == 1000
    assert not kept.thin


async def test_a_retry_gets_its_document_whole_though_little_of_the_answer_was_kept() -> None:
    async with opened(MemoryBackend(), receipts_bytes_max=0) as owner:
        session = SessionRequest(b"s" * 16, 1, 1, owner.tail)
        for request in ("mine", session):
            body = {"text": f"{request}"}
            first = await outcome(owner, "create", None, body, request=request)
            again = await outcome(owner, "create", None, body, request=request)
            assert again.duplicate
            assert again.value == first.value
            assert "text" in again.value
        operations = [["create", f"b{number}", {"n": number}, None, None, None, None, 0.0, 0] for number in range(3)]
        first = await outcome(owner, "batch", None, operations, request="batch")
        again = await outcome(owner, "batch", None, operations, request="batch")
        assert again.duplicate
        assert again.value == first.value
        assert (await run(owner, "get", "b2"))["n"] == 2
