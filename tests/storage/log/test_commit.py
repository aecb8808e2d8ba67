"""One create-only write to a certain end: yes, no, or unknown (rules 9 to 11 of the commit protocol)."""

import random
from collections.abc import Callable

import pytest

from parquedb.clock import ManualClock
from parquedb.errors import (
    CircuitOpenError,
    ParqueDBError,
    QuotaExceededError,
    StorageFailedError,
    StorageWriteError,
)
from parquedb.storage.backends.faults import Fault, FaultRule, FaultyBackend
from parquedb.storage.backends.memory import MemoryBackend
from parquedb.storage.log.commit import Committer, Settled
from parquedb.storage.log.entry import Kind, entry_key
from tests.support.chains import PREFIX, chain, entry, put

CREATE = frozenset({"create"})


class Bench:
    """A committer over a store that misbehaves on demand."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = MemoryBackend(clock=self.clock)
        self.faulty = FaultyBackend(self.store, rng=random.Random(1), clock=self.clock)
        self.committer = Committer(self.faulty, self.clock, random.Random(2))
        self.doubts: list[ParqueDBError] = []

    def next(self, fault: Fault, count: int = 1, error: str | Callable[[str], BaseException] | None = None) -> None:
        self.faulty.add(FaultRule(fault=fault, operations=CREATE, count=count, error=error))

    async def settle(self) -> Settled:
        settlement = await self.committer.settle("k/1", b"mine", on_doubt=self.doubts.append)
        return settlement.how


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_a_success_is_a_yes(bench: Bench) -> None:
    assert await bench.settle() is Settled.LANDED
    assert bench.faulty.calls["create"] == 1


@pytest.mark.parametrize("fault", [Fault.LOST_REQUEST, Fault.LOST_REPLY, Fault.LATE])
async def test_without_an_answer_the_same_bytes_go_again_until_one_comes(bench: Bench, fault: Fault) -> None:
    bench.next(fault, count=3)
    assert await bench.settle() is Settled.LANDED
    assert await bench.store.read("k/1") == b"mine"
    assert bench.faulty.calls["create"] == len(bench.doubts) + 1


async def test_our_own_bytes_behind_a_412_are_a_yes(bench: Bench) -> None:
    bench.next(Fault.LOST_REPLY)
    assert await bench.settle() is Settled.LANDED
    assert bench.faulty.calls["read"] == 1


async def test_somebody_elses_bytes_behind_a_412_are_returned(bench: Bench) -> None:
    await bench.store.create("k/1", b"theirs")
    settlement = await bench.committer.settle("k/1", b"mine")
    assert (settlement.how, settlement.found) == (Settled.FOREIGN, b"theirs")


async def test_a_412_whose_object_is_gone_decides_nothing(bench: Bench) -> None:
    bench.next(Fault.ERROR, error="exists")
    assert await bench.settle() is Settled.VANISHED


async def test_a_409_is_neither_yes_nor_no(bench: Bench) -> None:
    bench.next(Fault.ERROR, count=2, error="conflict")
    assert await bench.settle() is Settled.LANDED
    assert bench.faulty.calls["create"] == 3


async def test_a_refusal_before_anything_was_in_doubt_is_a_no(bench: Bench) -> None:
    bench.next(Fault.ERROR, error="quota")
    with pytest.raises(QuotaExceededError):
        await bench.settle()
    assert not await bench.store.exists("k/1")


async def test_a_refusal_after_a_lost_reply_says_nothing(bench: Bench) -> None:
    bench.next(Fault.LOST_REPLY)
    bench.next(Fault.ERROR, count=2, error="quota")
    assert await bench.settle() is Settled.LANDED
    assert len(bench.doubts) == 3


def refused(_key: str) -> CircuitOpenError:
    return CircuitOpenError(circuit="writes", retry_after=5.0)


async def test_an_open_circuit_before_the_first_attempt_is_a_no(bench: Bench) -> None:
    bench.next(Fault.ERROR, error=refused)
    with pytest.raises(CircuitOpenError):
        await bench.settle()


async def test_an_open_circuit_after_it_is_waited_out(bench: Bench) -> None:
    bench.next(Fault.LOST_REQUEST)
    bench.next(Fault.ERROR, error=refused)
    assert await bench.settle() is Settled.LANDED
    assert bench.clock.boot_s() >= 5.0


async def test_reading_the_winner_is_tried_until_it_succeeds(bench: Bench) -> None:
    bench.next(Fault.LOST_REPLY)
    bench.faulty.add(FaultRule(fault=Fault.ERROR, operations=frozenset({"read"}), count=3, error="network"))
    assert await bench.settle() is Settled.LANDED
    assert bench.faulty.calls["read"] == 4


# -- rule 11: somebody else's entry at our position

MINE = entry(3, name="mine", previous="c2", seq=2)


async def settle_entry(bench: Bench) -> tuple[Settled, bool | None]:
    settlement, landed = await bench.committer.settle_entry(PREFIX, MINE, b"mine")
    return settlement.how, landed


async def test_a_foreign_entry_that_is_the_tail_is_a_no(bench: Bench) -> None:
    await chain(bench.store, 2)
    await put(bench.store, entry(3, name="rival", kind=Kind.OPEN, seq=2))
    assert await settle_entry(bench) == (Settled.FOREIGN, False)


async def test_a_foreign_entry_that_the_chain_goes_on_from_is_a_no(bench: Bench) -> None:
    await chain(bench.store, 2)
    await put(bench.store, entry(3, name="rival", kind=Kind.OPEN, seq=2))
    await put(bench.store, entry(4, previous="rival", epoch=3, seq=2))
    assert await settle_entry(bench) == (Settled.FOREIGN, False)


async def test_no_is_as_dangerous_as_yes(bench: Bench) -> None:
    """Ours landed and its reply was lost; a rival opened above it, folded and collected it; a late packet took its
    place. The entry above still names ours.
    """
    await chain(bench.store, 2)
    await put(bench.store, entry(4, name="rival", previous="mine", kind=Kind.OPEN, seq=3))
    await put(bench.store, entry(3, name="zombie", previous="c2", kind=Kind.OPEN, seq=2))
    assert await settle_entry(bench) == (Settled.FOREIGN, True)


async def test_a_foreign_entry_whose_neighbour_is_gone_leaves_it_unknown(bench: Bench) -> None:
    await chain(bench.store, 2)
    await put(bench.store, entry(3, name="zombie", previous="c2", kind=Kind.OPEN, seq=2))
    await put(bench.store, entry(9, previous="c8", epoch=4, seq=9))
    assert await settle_entry(bench) == (Settled.FOREIGN, None)


async def test_a_neighbour_that_names_a_third_leaves_it_unknown(bench: Bench) -> None:
    await chain(bench.store, 2)
    await put(bench.store, entry(3, name="zombie", previous="c2", kind=Kind.OPEN, seq=2))
    await put(bench.store, entry(4, previous="third", epoch=3, seq=2))
    assert await settle_entry(bench) == (Settled.FOREIGN, None)


async def test_damaged_bytes_at_our_position_leave_it_unknown(bench: Bench) -> None:
    """They may be our own, cut short on their way here."""
    await bench.store.create(PREFIX + entry_key(3), b"rubbish")
    assert await settle_entry(bench) == (Settled.FOREIGN, None)


async def test_a_listing_that_fails_is_asked_again(bench: Bench) -> None:
    await chain(bench.store, 2)
    await put(bench.store, entry(3, name="rival", kind=Kind.OPEN, seq=2))
    bench.faulty.add(FaultRule(fault=Fault.ERROR, operations=frozenset({"list"}), count=2, error="network"))
    assert await settle_entry(bench) == (Settled.FOREIGN, False)
    assert bench.faulty.calls["list"] == 3


async def test_a_store_that_takes_no_more_leaves_what_was_in_doubt_unknowable(bench: Bench) -> None:
    bench.next(Fault.LOST_REQUEST)
    bench.next(Fault.ERROR, count=9, error=lambda key: StorageFailedError(key=key))
    assert await bench.settle() is Settled.UNKNOWABLE
    assert bench.faulty.calls["create"] == 2
    with pytest.raises(StorageFailedError):
        await bench.settle()  # Nothing of this one was in doubt.


async def test_a_store_that_took_nothing_at_a_fresh_name_says_why(bench: Bench) -> None:
    await bench.store.create("k/1", b"theirs")
    with pytest.raises(StorageWriteError, match="somebody else's object is at the fresh name k/1"):
        await bench.committer.store("k/1", b"mine")
    bench.next(Fault.LOST_REQUEST)
    bench.next(Fault.ERROR, error=lambda key: StorageFailedError(key=key))
    with pytest.raises(StorageFailedError, match="the store lost k/2"):
        await bench.committer.store("k/2", b"mine")
