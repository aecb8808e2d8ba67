"""What must be true of a slice: everything anybody was told, held against the chain that storage holds."""

import itertools
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from parquedb.storage.log.entry import Kind
from parquedb.storage.log.events import decode_body
from tests.support.chain import History, Verdict, check_attempts
from tests.support.chaos.client import ACCOUNTS, BALANCE
from tests.support.chaos.records import Answer, Read, Stored, Total, Write, attempts_of
from tests.support.workloads import Attempt, State

TOTAL = ACCOUNTS * BALANCE


@dataclass
class Judgement:
    """What was found in one namespace.

    Attributes:
        verdict: Counts of the attempts.
        repeated: Writes that were settled by a repetition under their request id.
        reads, totals: How many were checked.
        hand_overs: `open` entries but the first.
        silence_s: Longest time between two acknowledgements.
        violations: Promises that were broken; each a sentence with its evidence.
    """

    verdict: Verdict = field(default_factory=Verdict)
    repeated: int = 0
    reads: int = 0
    totals: int = 0
    hand_overs: int = 0
    silence_s: float = 0.0
    violations: list[str] = field(default_factory=list)


def judge(namespace: str, records: Sequence[Any], history: History) -> Judgement:
    """Hold the records of one namespace against its history."""
    own = [record for record in records if record.namespace == namespace]
    attempts = attempts_of(own)[namespace]
    writes = {record.token: record for record in own if isinstance(record, Write)}
    reads = [record for record in own if isinstance(record, Read)]
    totals = [record for record in own if isinstance(record, Total)]
    settled = {each.token for each in own if isinstance(each, Answer) and each.repeated and each.state != "unknown"}
    found = Judgement(
        repeated=len(settled),
        reads=len(reads),
        totals=len(totals),
        hand_overs=len(history.epochs) - 1,
        silence_s=longest_silence_s(attempts),
    )

    def check(rule: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return rule(*arguments)
        except AssertionError as error:
            # pytest appends its own explanation to our sentence, and its first line will do.
            found.violations.append(f"{namespace}: {str(error).splitlines()[0] if str(error) else rule.__name__}")
            return None

    found.verdict = check(check_attempts, history, attempts) or found.verdict
    check(check_winners, attempts, writes)
    check(check_reads, reads, attempts, history)
    check(check_totals, totals)
    check(check_balances, history)
    check(check_sums, history, writes)
    check(check_stored, [record.document for record in own if isinstance(record, Stored)], history)
    return found


def longest_silence_s(attempts: Iterable[Attempt]) -> float:
    """Return the longest time between two acknowledgements, seconds."""
    times = sorted(attempt.done_s for attempt in attempts if attempt.state is State.ACKNOWLEDGED)
    return max((later - earlier for earlier, later in itertools.pairwise(times)), default=0.0)


def check_winners(attempts: Iterable[Attempt], writes: dict[str, Write]) -> None:
    """Of the updates that expected one version of one document at most one was acknowledged, and made the next."""
    winners: dict[tuple[str, int], str] = {}
    for attempt in attempts:
        expected = writes[attempt.token].expected
        if expected is None or attempt.state is not State.ACKNOWLEDGED:
            continue
        [(id_, version)] = attempt.changed
        assert version == expected + 1, f"{attempt} expected version {expected}"
        other = winners.setdefault((id_, expected), attempt.token)
        assert other == attempt.token, f"{other} and {attempt.token} both won version {expected} of {id_}"


def check_reads(reads: Iterable[Read], attempts: Iterable[Attempt], history: History) -> None:
    """Reads are linearizable as far as their times tell.

    A read shows what is stored under its version, nothing older than what had been acknowledged or read by anybody
    before it began, and nothing that was asked for only after it ended.
    """
    tokens = {
        (event.id, event.document["version"]): event.document["token"]
        for _, event in history.events
        if event.document is not None
    }
    begun_s = {attempt.token: attempt.started_s for attempt in attempts}
    known: dict[str, list[tuple[float, int]]] = defaultdict(list)
    for attempt in attempts:
        if attempt.state is State.ACKNOWLEDGED:
            for id_, version in attempt.changed:
                known[id_].append((attempt.done_s, version))
    by_id: dict[str, list[Read]] = defaultdict(list)
    for read in reads:
        by_id[read.id].append(read)
        known[read.id].append((read.done_s, read.version))
        if read.version:
            stored = tokens.get((read.id, read.version))
            assert stored == read.token, f"{read} shows {read.token}, but the log says {stored}"
            assert begun_s[read.token] <= read.done_s, f"{read} shows what was not yet asked for"
    for id_, of_id in by_id.items():
        facts, at, newest = sorted(known[id_]), 0, 0
        for read in sorted(of_id, key=lambda read: read.started_s):
            while at < len(facts) and facts[at][0] < read.started_s:
                newest = max(newest, facts[at][1])
                at += 1
            assert read.version >= newest, f"{read}, but version {newest} was known before it began"


def check_totals(totals: Iterable[Total]) -> None:
    """Transfers move money: in every state that anybody saw the accounts held the same together."""
    for total in totals:
        assert total.accounts == ACCOUNTS, f"{total} saw a part of the accounts"
        assert total.total == TOTAL, f"{total} instead of {TOTAL}"


def check_balances(history: History) -> None:
    """The same for every state that there ever was, between any two log entries."""
    balances: dict[str, int] = {}
    for entry in history.entries:
        if entry.header.kind != Kind.WRITE:
            continue
        position = entry.header.position
        for event in decode_body(str(position), entry.body)[0]:
            if event.document is not None and event.document.get("kind") == "account":
                balances[event.id] = event.document["n"]
        if len(balances) == ACCOUNTS:
            assert sum(balances.values()) == TOTAL, f"after log entry {position} the accounts hold {balances}"


def check_sums(history: History, writes: dict[str, Write]) -> None:
    """Each counter is the sum of exactly what was added to it."""
    sums: Counter[str] = Counter()
    last: dict[str, int] = {}
    for _, event in history.events:
        if event.document is not None and event.document.get("kind") == "counter":
            sums[event.id] += writes[event.document["token"]].amount
            last[event.id] = event.document["n"]
    assert last == dict(sums), f"counters are {last}, but what was added comes to {dict(sums)}"


def check_stored(documents: list[dict[str, Any]], history: History) -> None:
    """What the last reader found is what the log comes to."""
    found = {document["$id"]: document for document in documents}
    expected = history.documents()
    assert len(found) == len(documents), "a document was read twice"
    assert found.keys() == expected.keys(), (
        f"read but not in the log or the other way: {found.keys() ^ expected.keys()}"
    )
    for id_, document in found.items():
        kept = {name: expected[id_].get(name) for name in document}
        assert document == kept, f"read {document}, but the log says {kept}"
