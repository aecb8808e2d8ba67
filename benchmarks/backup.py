"""Backups and restores beside a plain copy of the same bytes: `shutil.copytree`, and a loop of GET and PUT on S3."""

import asyncio
import os
import shutil
import statistics
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from benchmarks.bench import WHERE, Bench, take_turns
from benchmarks.table import Row, compared
from parquedb.cluster.backup.backups import backup_database, restore_database
from parquedb.observability.hooks import HookRegistry
from parquedb.settings.environment import load_settings
from parquedb.storage.backend import StorageBackend
from parquedb.storage.open import open_backend
from tests.support.engines import NAMESPACE, opened
from tests.support.engines import run as run_one

NAME = "backup"
MB = 1_000_000
NOTE_LOCAL = (
    "Bytes per second of a database of some large data files and some hundred small objects, to a new directory. Ours "
    "reads and checks every checksum and syncs every object and its folder before the catalogue is written; copytree "
    "copies the same directory in the kernel, one file after the other, checks nothing and syncs nothing."
)
NOTE_S3 = (
    "The same from one prefix of a real S3 server to another. The loop reads and stores the same objects one after the "
    "other, by the same client, and checks nothing."
)
NOTE_AGAIN = "A backup of which everything is there already: what an hourly one costs when nothing has changed."


def run(bench: Bench) -> list[Row]:
    """Measure."""
    rows = []
    for kind in ("local", "s3"):
        place = bench.place(kind)
        files = bench.choose(8 if kind == "local" else 4, 2)
        size = bench.run(_fill(place, files))
        rows += _measure(bench, kind, place, size)
    return rows


async def _fill(place: dict[str, Any], files: int) -> int:
    """Store documents that cannot be compressed, in files of some 16 MB, and single writes in the log; return bytes."""
    store = open_backend(load_settings(**place))
    try:
        async with opened(store, checkpoint_entries_max=50) as owner:
            for number in range(files):
                body = [{"$id": f"d{number}-{at}", "t": os.urandom(64_000)} for at in range(250)]
                for start in range(0, len(body), 50):
                    await run_one(owner, "create_many", body=body[start : start + 50])
                await owner.flush()
            for number in range(200):
                await run_one(owner, "create", f"s{number}", {"n": number})
        sizes = [info.size for info in await _listed(store)]
        return sum(sizes)
    finally:
        await store.close()


async def _listed(store: StorageBackend, prefix: str = f"{NAMESPACE}/") -> list[Any]:
    found: list[Any] = []
    after, more = None, True
    while more:
        page = await store.list(prefix, after=after)
        found.extend(page.objects)
        more, after = page.more, page.objects[-1].key if page.objects else None
    return found


def _measure(bench: Bench, kind: str, place: dict[str, Any], size: int) -> list[Row]:
    settings = load_settings(**place)
    numbers = iter(range(1_000_000))
    archives: list[str] = []
    again_s: list[float] = []
    base = str(bench.scratch) if kind == "local" else f"{place['url']}-"

    def fresh(what: str) -> str:
        return f"{base}/{what}{next(numbers)}" if kind == "local" else f"{base}{what}{next(numbers)}"

    def backup() -> float:
        archives.append(fresh("archive"))
        rate = _timed(bench, size, lambda: backup_database(settings, HookRegistry(), archives[-1]))
        again_s.append(size / _timed(bench, size, lambda: backup_database(settings, HookRegistry(), archives[-1])))
        return rate

    def restore() -> float:
        target = load_settings(**{**place, "url": fresh("restored")})
        return _timed(bench, size, lambda: restore_database(target, HookRegistry(), archives[-1]))

    def plain() -> float:
        if kind == "local":
            started_s = time.perf_counter()
            shutil.copytree(Path(settings.url), fresh("copy"))
            return size / (time.perf_counter() - started_s)
        return _timed(bench, size, lambda: _loop(place, fresh("copy")))

    rates = take_turns(bench.choose(5, 2), {"backup": backup, "plain": plain, "restore": restore})
    where, note = WHERE[kind], NOTE_LOCAL if kind == "local" else NOTE_S3
    peer = "copytree" if kind == "local" else "copy loop"
    scaled = {name: [rate / MB for rate in measured] for name, measured in rates.items()}
    rows = [
        compared(f"{what}, {size // MB} MB, {where}", scaled[what], scaled["plain"], unit="MB/s", peer=peer, note=note)
        for what in ("backup", "restore")
    ]
    again = statistics.median(again_s)
    rows.append(Row(f"backup again, nothing new, {where}", f"{again * 1000:.0f} ms", note=NOTE_AGAIN))
    return rows


def _timed(bench: Bench, size: int, work: Callable[[], Awaitable[object]]) -> float:
    async def timed() -> float:
        started_s = time.perf_counter()
        await work()
        return size / (time.perf_counter() - started_s)

    return bench.run(timed())


async def _loop(place: dict[str, Any], url: str) -> None:
    source, target = (open_backend(load_settings(**{**place, "url": one})) for one in (place["url"], url))
    try:
        for info in await _listed(source):
            await target.create(info.key, await source.read(info.key))
    finally:
        await asyncio.gather(source.close(), target.close())
