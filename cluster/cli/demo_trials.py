"""The sections of the demo: what is done to the database, what is said about it, and what must hold afterwards."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from rich import filesize
from rich.markup import escape

import parquedb
from parquedb import AsyncCollection, AsyncDatabase
from parquedb.cluster.cli import demo_faults, demo_import, demo_trace
from parquedb.cluster.cli.demo_data import DataSet
from parquedb.cluster.cli.demo_screen import Screen, quantile, table
from parquedb.cluster.cli.wording import duration
from parquedb.errors import VersionConflictError

CONTENDERS = 32
POINT_READS = 200
READS_IN_FLIGHT = 500


@dataclass(frozen=True)
class Stage:
    """What every section works with.

    Attributes:
        db: The database.
        screen: The terminal.
        root: The database's directory.
        data: The parsed data sets, to compare answers with.
    """

    db: AsyncDatabase
    screen: Screen
    root: Path
    data: Sequence[DataSet]


async def import_real_data(stage: Stage) -> None:
    """Import five tables, each into a namespace of its own."""
    total = sum(part.table.num_rows for part in stage.data)
    stage.screen.section("Import real data")
    stage.screen.say(
        "Every flight that left New York City in 2013, with its airlines, airports, planes and weather. "
        "A document counts here once it is durable: written and synced to disk."
    )
    imported = await demo_import.import_all(stage.db, stage.data, stage.screen)
    rate = imported.total / imported.took_s
    stage.screen.say(
        f"Five owners started in {duration(imported.opened_s)}, then took {imported.total:,} documents in "
        f"{duration(imported.took_s)}: [bold]{rate:,.0f} documents/s[/]."
    )
    for refusal in imported.refused[:3]:
        stage.screen.say(f"  [red]refused: {escape(refusal)}[/]")
    stage.screen.prove(f"all {total:,} documents were acknowledged", imported.total == total)
    started_s = time.perf_counter()
    await asyncio.gather(*(stage.db.collection(part.namespace).flush() for part in stage.data))
    folded_s = time.perf_counter() - started_s
    stage.screen.say(f"[dim]Owners fold their log into Parquet as they go; the rest took {duration(folded_s)}.[/]")


async def read_and_query(stage: Stage) -> None:
    """Read single documents, run a query, compare both with the source."""
    stage.screen.section("Read and query")
    flights = stage.db.collection("flights")
    sample = demo_import.sample(stage.data, "flights", POINT_READS)
    took_s, exact = [], 0
    for source in sample:
        started_s = time.perf_counter()
        found = await flights.get(source["$id"])
        took_s.append(time.perf_counter() - started_s)
        exact += found is not None and all(found[name] == value for name, value in source.items() if name != "$id")
    stage.screen.say(
        f"{len(sample)} flights by id, one after the other: median [bold]{duration(quantile(took_s, 0.5))}[/], "
        f"99th percentile {duration(quantile(took_s, 0.99))}."
    )
    stage.screen.prove("every field came back with its value and type, datetimes included", exact == len(sample))

    late: dict[str, Any] = {"origin": "JFK", "dep_delay": {"$gt": 120}}
    started_s = time.perf_counter()
    count = await flights.count(late)
    counted_s = time.perf_counter() - started_s
    started_s = time.perf_counter()
    page = await flights.find(late, limit=5)
    found_s = time.perf_counter() - started_s
    source = stage.data[-1].table
    expected = pc.sum(pc.and_kleene(pc.equal(source["origin"], "JFK"), pc.greater(source["dep_delay"], 120))).as_py()
    stage.screen.say(
        f"[dim]flights.count({late})[/]\n{count:,} departures more than two hours late, counted in "
        f"[bold]{duration(counted_s)}[/]; five of them found in {duration(found_s)}:"
    )
    stage.screen.show(documents_table(page.items, ("$id", "dest", "dep_delay", "tailnum", "time_hour", "version")))
    stage.screen.prove(f"PyArrow counts the same {expected:,} in the source file", count == expected)


def documents_table(documents: Sequence[Mapping[str, Any]], names: Sequence[str]) -> object:
    """Lay documents out as rows."""
    made = table(*names)
    for document in documents:
        made.add_row(*(str(document.get(name, "")) for name in names))
    return made


async def conflict(stage: Stage) -> None:
    """Let many writers update one document at one version."""
    stage.screen.section(f"{CONTENDERS} writers, one document")
    stage.screen.say(f"{CONTENDERS} concurrent updates of one document, all with [bold]expected_version=1[/].")
    gates = stage.db.collection("gates")
    await gates.create({"flight": None}, id="B22")
    claims = [
        gates.update("B22", {"$set": {"flight": f"claim {number}"}}, expected_version=1)
        for number in range(1, CONTENDERS + 1)
    ]
    results = await asyncio.gather(*claims, return_exceptions=True)
    winners = {number: result for number, result in enumerate(results, 1) if isinstance(result, dict)}
    lost = [result for result in results if isinstance(result, VersionConflictError)]
    made = table("outcome", ">writers", "what they were told")
    for number, document in winners.items():
        made.add_row("[green]applied[/]", "1", f"claim {number} is now version {document['version']}")
    for told in sorted({str(error) for error in lost}):
        made.add_row("[yellow]VersionConflictError[/]", str(sum(str(error) == told for error in lost)), escape(told))
    stage.screen.show(made)
    stage.screen.prove(f"one winner and {CONTENDERS - 1} conflicts", len(winners) == 1 and len(lost) == CONTENDERS - 1)
    gate = await gates.get_or_raise("B22")
    stage.screen.prove(
        "the document is what the winner was told it is",
        [gate] == list(winners.values()),
    )


async def kill_the_owner(stage: Stage) -> None:
    """Kill -9 the owner under load; nothing that was acknowledged may be missing, nothing applied twice."""
    stage.screen.section("kill -9")
    events = stage.db.collection("events")
    await events.create({"n": 0}, id="counter")
    pid = (await events.stats())["pid"]
    stage.screen.say(
        f"16 writers create documents and increment one counter; in the middle their owner, process {pid}, "
        "gets SIGKILL. A write without an answer is sent again under its own request id."
    )
    journal = await demo_faults.write_through_a_kill(events, writers=16, before_s=1.5, after_s=1.0)
    made = table("", ">")
    made.show_header = False
    made.add_row("documents acknowledged", f"{len(journal.acknowledged):,}")
    made.add_row("increments acknowledged", f"{journal.increments:,}")
    for code, count in sorted(journal.retries.items()):
        made.add_row(f"sent again after {code}", f"{count:,}")
    made.add_row("longest time without an answer", duration(journal.gap_s()))
    stage.screen.show(made)

    counter = await events.get_or_raise("counter")
    stage.screen.prove("a new process owns the namespace", (await events.stats())["pid"] != pid)
    missing = await absent(events, journal.acknowledged)
    stage.screen.prove(
        f"all {len(journal.acknowledged):,} acknowledged documents are there (each was read back)",
        bool(journal.acknowledged) and not missing,
    )
    stage.screen.prove(f"the counter says exactly {journal.increments:,}", counter["n"] == journal.increments)
    stage.screen.prove("and there is no document too many", await events.count() == len(journal.acknowledged) + 1)


async def absent(collection: AsyncCollection, ids: Sequence[str]) -> list[str]:
    """Read every id; return those without a document."""
    missing = []
    for start in range(0, len(ids), READS_IN_FLIGHT):
        some = ids[start : start + READS_IN_FLIGHT]
        found = await asyncio.gather(*(collection.get(id_) for id_ in some))
        missing += [id_ for id_, document in zip(some, found, strict=True) if document is None]
    return missing


async def take_the_storage_away(stage: Stage) -> None:
    """Rename the database's directory away under a writer, and back."""
    stage.screen.section("The storage goes away")
    stage.screen.say(
        "The database's directory is renamed away while a writer goes on, and back after two seconds. This "
        "connection's circuit breaker opens after 3 failures and tries again after 0.5 s."
    )
    storage = {"breaker_failures": 3, "breaker_open_s": 0.5, "breaker_successes": 1}
    async with await parquedb.connect_async(str(stage.root), storage=storage) as db:
        readings = db.collection("readings")
        outage = await demo_faults.write_through_an_outage(readings, stage.root, down_s=2.0)
        made = table("", "outcome", ">writes", ">median time")
        for phase in outage.phases:
            title = phase.title
            if phase.took_s:
                median = duration(quantile(phase.took_s, 0.5))
                made.add_row(title, "[green]acknowledged[/]", f"{len(phase.took_s)}", median)
                title = ""
            for code, took_s in sorted(phase.refused_s.items()):
                made.add_row(title, f"[yellow]{code}[/]", f"{len(took_s)}", duration(quantile(took_s, 0.5)))
                title = ""
        stage.screen.show(made)
        during = outage.phases[1].refused_s
        stage.screen.prove(
            "the circuit opened, and refused without touching the disk", bool(during.get("CIRCUIT_OPEN"))
        )
        recovered = outage.recovered_s
        when = "" if recovered is None else f" {duration(recovered)} after the directory was back"
        stage.screen.prove(f"writes went through again{when}, with nobody's help", recovered is not None)
        missing = await absent(readings, outage.acknowledged)
        stage.screen.prove(
            f"all {len(outage.acknowledged)} acknowledged writes are there", bool(outage.acknowledged) and not missing
        )
        gone = await absent(readings, outage.refused)
        stage.screen.prove(
            f"none of the {len(outage.refused)} refused ones is",
            bool(outage.refused) and len(gone) == len(outage.refused),
        )


async def look_at_the_files(stage: Stage) -> None:
    """List the data files and read them without ParqueDB."""
    stage.screen.section("The files are plain Parquet")
    made = table("data file", ">rows", ">columns", ">size")
    documents: dict[str, int] = {}
    newest: Path | None = None
    for part in stage.data:
        paths = sorted((stage.root / part.namespace / "data").glob("*.parquet"))
        # Files that the owner has merged stay for a while beside what they became: a document may be in both.
        ids = [pq.read_table(path, columns=["$id"]) for path in paths]
        if ids:
            documents[part.namespace] = pc.count_distinct(pa.concat_tables(ids)["$id"]).as_py()
        for path in paths:
            found = pq.read_metadata(path)
            size = filesize.decimal(path.stat().st_size)
            made.add_row(str(path.relative_to(stage.root)), f"{found.num_rows:,}", str(found.num_columns), size)
            newest = path
    stage.screen.show(made)
    if newest is not None:
        names = ["$id", "carrier", "dest", "dep_delay", "time_hour"]
        head = pq.ParquetFile(newest).schema_arrow
        stage.screen.say(f"[dim]pyarrow.parquet.read_table({newest.name!r}), some of {len(head.names)} columns:[/]")
        first = pq.read_table(newest, columns=names).slice(0, 3)
        types = table(*names)
        types.add_row(*(f"[dim]{first.schema.field(name).type}[/]" for name in names))
        for row in first.to_pylist():
            types.add_row(*(str(row[name]) for name in names))
        stage.screen.show(types)
    expected = {part.namespace: part.table.num_rows for part in stage.data}
    stage.screen.prove(f"PyArrow alone counts all {sum(expected.values()):,} documents in them", documents == expected)


async def follow_one_write(stage: Stage) -> None:
    """Show the trace of one write, from the caller through the actor to the storage."""
    stage.screen.section("One write, traced")
    stage.screen.say("Spans come out of hooks, here in two processes; both append them to files.")
    spans = await demo_trace.traced_write(str(stage.root), stage.root.parent / "spans")
    for tree in demo_trace.trees(spans):
        stage.screen.show(tree)
    stage.screen.prove(
        "one trace, from the caller through its owner's process to the storage call",
        demo_trace.is_whole(spans),
    )
