"""The judge of the chaos runs: silent about an honest slice, and not silent about any lie that is planted in one."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.chain import Bystander, History
from tests.support.chaos.client import ACCOUNTS, SHARED
from tests.support.chaos.judge import Judgement, judge
from tests.support.chaos.records import Answer, Read, Recorder, Stored, Total, Write, load, undecided
from tests.support.chaos.schedule import DISK, FAULTS, S3, schedule
from tests.support.places import EngineCollection, engine_on, on_disk, settings_of

NAMESPACE = "posts"
Records = list[Any]


class Bank:
    """A slice in small: an engine, and records of what it said, one second after the other."""

    def __init__(self, posts: EngineCollection) -> None:
        self._posts = posts
        self._now_s = 100.0
        self.records: Records = []

    async def write(self, kind: str, ids: list[str], *, amounts: tuple[int, ...] = (0, 0), **facts: Any) -> None:
        token = f"t{len(self.records)}"
        amount = amounts[0]
        self.records.append(Write(NAMESPACE, token, kind, ids, self._tick(), amount=amount, **facts))
        operations = [
            {"op": "create", "id": id_, "data": {**SHARED.get(id_, {"kind": "single"}), "token": token}}
            if kind == "create"
            else {"op": "update", "id": id_, "ops": {"$inc": {"n": amount}, "$set": {"token": token}}}
            for id_, amount in zip(ids, amounts, strict=False)
        ]
        documents = await self._posts.batch(operations)
        changed = [(document["$id"].partition("/")[2], document["version"]) for document in documents]
        self.records.append(Answer(NAMESPACE, token, self._tick(), "acknowledged", changed))

    async def read(self, id_: str) -> None:
        started_s, document = self._tick(), await self._posts.get(id_)
        read = Read(NAMESPACE, "me", id_, started_s, self._tick(), document["version"], document["token"])
        self.records.append(read)

    def _tick(self) -> float:
        self._now_s += 1
        return self._now_s


@pytest.fixture
async def bank(tmp_path: Path) -> tuple[Records, History]:
    """Records and history of a slice in which all went well."""
    return await played(tmp_path)


async def played(folder: Path, *, unbalanced: bool = False) -> tuple[Records, History]:
    settings = settings_of(on_disk(folder))
    async with engine_on(settings, "bank") as engine:
        await engine.open()
        bank = Bank(EngineCollection(engine))
        for id_ in SHARED:
            await bank.write("create", [id_])
        await bank.write("add", ["n0"], amounts=(5,))
        await bank.read("n0")
        await bank.write("add", ["n0"], amounts=(2,))
        await bank.read("n0")
        await bank.write("transfer", ["a0", "a1"], amounts=(7, -6 if unbalanced else -7))
        await bank.write("versioned", ["v0"], expected=1)
        await bank.write("versioned", ["v0"], expected=2)
        bank.records.append(Total(NAMESPACE, "find", ACCOUNTS, 600))
        await engine.close()
    bystander = Bystander(settings, NAMESPACE)
    history = await bystander.history()
    await bystander.close()
    for document in history.documents().values():
        kept = {name: document[name] for name in ("$id", "version", "token", "n")}
        bank.records.append(Stored(NAMESPACE, kept))
    return bank.records, history


def judged(records: Records, history: History) -> Judgement:
    return judge(NAMESPACE, records, history)


def of(kind: type, records: Records) -> Any:
    """Return the last record of a kind."""
    return next(record for record in reversed(records) if isinstance(record, kind))


def test_an_honest_slice_has_no_violations(bank: tuple[Records, History]) -> None:
    found = judged(*bank)
    assert found.violations == []
    assert (found.verdict.acknowledged, found.reads, found.totals) == (len(SHARED) + 5, 2, 1)
    assert found.silence_s == 4.0, "a write, a read, a write: two seconds each"


def acknowledge_what_is_absent(records: Records) -> None:
    records.append(Write(NAMESPACE, "lost", "create", ["lost"], 500.0))
    records.append(Answer(NAMESPACE, "lost", 501.0, "acknowledged", [("lost", 1)]))


def refuse_what_is_stored(records: Records) -> None:
    answer = of(Answer, records)
    answer.state, answer.changed, answer.error = "refused", [], "CircuitOpenError"


def forget_a_write(records: Records) -> None:
    token = of(Write, records).token
    records[:] = [record for record in records if getattr(record, "token", None) != token]


def win_a_version_twice(records: Records) -> None:
    of(Write, records).expected = 1
    of(Answer, records).changed = [("v0", 2)]


def read_the_past(records: Records) -> None:
    earlier = next(record for record in records if isinstance(record, Read))
    records.append(replace(earlier, started_s=400.0, done_s=401.0))


def read_the_future(records: Records) -> None:
    read = of(Read, records)
    read.started_s, read.done_s = 0.0, 1.0


def read_what_was_never_written(records: Records) -> None:
    of(Read, records).token = "never"


def see_a_transfer_in_the_middle(records: Records) -> None:
    of(Total, records).total -= 7


def see_a_part_of_the_accounts(records: Records) -> None:
    of(Total, records).accounts -= 1


def lose_an_increment(records: Records) -> None:
    next(record for record in records if isinstance(record, Write) and record.kind == "add").amount += 1


def lose_a_document(records: Records) -> None:
    records.remove(of(Stored, records))


def read_another_number_in_the_end(records: Records) -> None:
    of(Stored, records).document["n"] += 1


LIES: dict[Callable[[Records], None], str] = {
    acknowledge_what_is_absent: "acknowledged Attempt(token='lost'",
    refuse_what_is_stored: "refused Attempt",
    forget_a_write: "nobody asked for",
    win_a_version_twice: "both won version 1 of v0",
    read_the_past: "was known before it began",
    read_the_future: "not yet asked for",
    read_what_was_never_written: "shows never",
    see_a_transfer_in_the_middle: "instead of 600",
    see_a_part_of_the_accounts: "saw a part",
    lose_an_increment: "what was added comes to",
    lose_a_document: "read but not in the log",
    read_another_number_in_the_end: "but the log says",
}


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.__name__)
def test_the_judge_sees_each_planted_lie(bank: tuple[Records, History], lie: Callable[[Records], None]) -> None:
    records, history = bank
    lie(records)
    assert any(LIES[lie] in violation for violation in judged(records, history).violations)


async def test_the_judge_sees_a_state_of_the_log_in_which_money_is_missing(tmp_path: Path) -> None:
    found = judged(*await played(tmp_path, unbalanced=True))
    assert [violation for violation in found.violations if "the accounts hold" in violation]


def test_a_write_whose_caller_was_killed_is_unknown_and_may_have_been_applied(bank: tuple[Records, History]) -> None:
    records, history = bank
    records.remove(of(Answer, records))
    found = judged(records, history)
    assert found.violations == []
    assert (found.verdict.unknown, found.verdict.unknown_applied) == (1, 1)


def test_what_a_killed_client_was_not_told_it_finds_in_its_records_again(tmp_path: Path) -> None:
    path = tmp_path / "client"
    recorder = Recorder(path)
    for name, state in (("a", "acknowledged"), ("b", "unknown"), ("c", None), ("d", "refused"), ("e", None)):
        recorder.note(Write("bank", name, "add", ["n0"], 1.0, request=None if name == "e" else f"id-{name}"))
        if state is not None:
            recorder.note(Answer("bank", name, 2.0, state, request="given" if state == "unknown" else None))
    recorder.close()
    path.write_text(path.read_text() + '["Answer", {"namespace"')
    never = tmp_path / "killed as it started"
    assert [(write.token, request) for write, request in undecided(load([path, never]))] == [
        ("b", "given"),
        ("c", "id-c"),
    ]


@pytest.mark.parametrize("place", [S3, DISK])
def test_the_same_seed_gives_the_same_schedule_and_another_seed_another_one(place: str) -> None:
    assert schedule(7, place, 60) == schedule(7, place, 60)
    assert schedule(7, place, 60) != schedule(8, place, 60)


@pytest.mark.parametrize("place", [S3, DISK])
def test_a_minute_meets_every_fault_of_its_place(place: str) -> None:
    met = {event.fault for event in schedule(1, place, 60)}
    assert met == {name for name, fault in FAULTS.items() if place in fault.places}
