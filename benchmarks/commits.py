"""What a commit costs the store: requests, and acknowledged writes for each PUT."""

import asyncio
import re
from pathlib import Path
from typing import Any

import parquedb
from benchmarks.bench import WHERE, Bench, end_actors
from benchmarks.engines import NAMESPACE, make_owner
from benchmarks.table import Row
from benchmarks.throughput import document
from parquedb.actors.requests.operations import Operation
from tests.support.fault_proxy import FaultProxy, Seen

NAME = "commits"
IN_FLIGHT = 1000
NOTE_WIRE = (
    "Counted by a proxy between the owner and the S3 server (SeaweedFS); requests of checkpoints and collections are "
    "counted apart."
)
NOTE_WRITES = (
    f"{IN_FLIGHT} coroutines, each awaiting its own create; commits as the owner counts them, without checkpoints."
)
NOTE_ENGINE = (
    f"{IN_FLIGHT} single-document calls at an engine in this process, on a local directory; counted in between."
)


def run(bench: Bench) -> list[Row]:
    """Measure."""
    bench.ray()
    each = bench.choose(20, 5)
    return [
        bench.run(in_process(bench.scratch / "commits", callers=IN_FLIGHT, each=each)),
        *bench.run(_over_the_wire(bench, each)),
        *(bench.run(_writes_per_put(bench, store, each)) for store in ("local", "s3")),
    ]


async def in_process(directory: Path, *, callers: int, each: int) -> Row:
    """Count what an engine asks of its store while `callers` write `each` documents one after another."""
    owner = make_owner(directory)
    await owner.engine.open()
    owner.counted.clear()
    before = owner.engine.stats()

    async def caller() -> None:
        for _ in range(each):
            [outcome] = await owner.engine.execute([Operation("create", body=document())])
            outcome.result()

    await asyncio.gather(*(caller() for _ in range(callers)))
    after = owner.engine.stats()
    checkpoints = after["checkpoints"] - before["checkpoints"]
    commits = after["commits"] - before["commits"] - checkpoints
    log = f"{NAMESPACE}/log/"
    # A checkpoint writes its files and manifest elsewhere, and one entry into the log.
    foreground = owner.counted.of("create", below=log) - checkpoints
    other = owner.counted.of() - foreground
    await owner.end(cleanly=True)
    figure = f"{foreground} for {commits} commits ({other} more in the background, {checkpoints} checkpoints)"
    return Row("requests per commit, engine", figure, ratio=foreground / commits, bar=("<=", 1.0), note=NOTE_ENGINE)


async def _over_the_wire(bench: Bench, each: int) -> list[Row]:
    with FaultProxy(bench.weed().endpoint_url) as proxy:
        database = await parquedb.connect_async(**bench.place("s3", endpoint_url=proxy.url))
        posts = database.collection(NAMESPACE)
        await _load(posts, 1)
        before, first = await posts.stats(), len(proxy.seen)
        await _load(posts, each)
        after, seen = await posts.stats(), proxy.seen[first:]
        end_actors(database.settings)
        await database.close()
    checkpoints = after["checkpoints"] - before["checkpoints"]
    commits = after["commits"] - before["commits"] - checkpoints
    puts = sum(one.method == "PUT" and "/log/" in one.path for one in seen) - checkpoints
    background = sum(map(_is_background, seen)) + checkpoints
    foreground = len(seen) - background
    behind = f"{background} more in the background, {checkpoints} checkpoints"
    figure = f"{foreground} for {commits} commits, {puts} of them PUTs ({behind})"
    return [
        Row("requests per commit, S3", figure, ratio=foreground / commits, bar=("<=", 1.0), note=NOTE_WIRE),
    ]


def _is_background(one: Seen) -> bool:
    """Whether a checkpoint or a collection asked: files, segments, manifests, listings, removals."""
    if one.method in {"DELETE", "POST"} or "list-type" in one.path:
        return True
    return re.search(r"/(data|manifest|segment|dedupe|tail|history|request)[a-z]*/", one.path) is not None


async def _writes_per_put(bench: Bench, store: str, each: int) -> Row:
    database = await parquedb.connect_async(**bench.place(store))
    posts = database.collection(NAMESPACE)
    await _load(posts, 2)
    before = await posts.stats()
    await _load(posts, each)
    after = await posts.stats()
    end_actors(database.settings)
    await database.close()
    commits = after["commits"] - before["commits"] - (after["checkpoints"] - before["checkpoints"])
    writes = IN_FLIGHT * each
    figure = f"{writes / commits:.0f} ({writes} in {commits} PUTs)"
    what = f"acknowledged writes per PUT, {IN_FLIGHT} in flight, {WHERE[store]}"
    return Row(what, figure, ratio=writes / commits, bar=(">=", 200.0), note=NOTE_WRITES)


async def _load(posts: Any, each: int) -> None:
    async def caller() -> None:
        for _ in range(each):
            await posts.create(document())

    await asyncio.gather(*(caller() for _ in range(IN_FLIGHT)))
