"""A simulated object store: one map of objects, and lossy connections to it, all on virtual time."""

import asyncio
import random
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import xxhash

from parquedb import errors
from parquedb.storage.backend import ListPage, ObjectInfo, StorageBackend
from tests.support.virtual_loop import Process


@dataclass(frozen=True, slots=True, kw_only=True)
class Weather:
    """How badly the network behaves: probabilities per request, times in seconds."""

    lost_request: float = 0.0
    lost_reply: float = 0.0
    late: float = 0.0
    duplicate: float = 0.0
    conflict: float = 0.0
    """409: neither yes nor no."""
    unavailable: float = 0.0
    """503, and nothing was done."""
    unavailable_applied: float = 0.0
    """503, and it was done."""
    refused: float = 0.0
    """429 or 507: certainly not done."""
    stall: float = 0.0
    truncated: float = 0.0
    """A read returns only the beginning."""
    altered: float = 0.0
    """A read returns a byte that is not the stored one."""
    late_s: float = 3.0
    stall_s: float = 3.0
    latency_s: tuple[float, float] = (0.004, 0.03)
    timeout_s: float = 0.4
    page_max: int = 1000
    """Keys of one page of a listing, however many were asked for."""


CLEAR = Weather()

FATES = (
    "lost_request",
    "lost_reply",
    "late",
    "duplicate",
    "conflict",
    "unavailable",
    "unavailable_applied",
    "refused",
)
"""What can become of a write, beside a stall."""


@dataclass(slots=True)
class Creation:
    """One object created for the first time."""

    time_s: float
    key: str
    data: bytes
    by: str


@dataclass
class SimStore:
    """The objects, and everything that ever happened to them."""

    note: Callable[..., None]
    objects: dict[str, tuple[bytes, float]] = field(default_factory=dict)
    keys: list[str] = field(default_factory=list)
    born: dict[str, float] = field(default_factory=dict)
    first: dict[str, Creation] = field(default_factory=dict)
    deleted: dict[str, float] = field(default_factory=dict)
    """When each object was deleted for the first time."""
    zombies: int = 0
    spoiled: dict[str, bytes] = field(default_factory=dict)
    """Objects that were altered or lost where they lie, and what they were."""
    damaged: set[str] = field(default_factory=set)
    """Keys of which anybody was ever given something else than what was stored."""

    def create(self, key: str, data: bytes, by: str) -> Any:
        now_s = asyncio.get_running_loop().time()
        if key in self.objects:
            self.note("exists", by, key)
            raise errors.AlreadyExistsError(key=key)
        if key in self.first:
            self.zombies += 1
        self.first.setdefault(key, Creation(now_s, key, data, by))
        self.objects[key] = (data, now_s)
        self.born[key] = now_s
        insort(self.keys, key)
        self.note("created", by, key, len(data))
        return self.info(key)

    def delete(self, key: str, by: str) -> None:
        self.spoiled.pop(key, None)
        if self.objects.pop(key, None) is not None:
            del self.keys[bisect_left(self.keys, key)]
            self.deleted.setdefault(key, asyncio.get_running_loop().time())
            self.note("deleted", by, key)

    def spoil(self, key: str, data: bytes | None) -> None:
        """Alter an object where it lies, or lose it."""
        stored, modified_s = self.objects[key]
        self.spoiled.setdefault(key, stored)
        self.damaged.add(key)
        self.note("spoiled", key, "lost" if data is None else len(data))
        if data is None:
            del self.objects[key]
            del self.keys[bisect_left(self.keys, key)]
        else:
            self.objects[key] = (data, modified_s)

    def heal(self) -> None:
        """Put back what was spoiled and has not been deleted since."""
        for key, data in sorted(self.spoiled.items()):
            if key not in self.objects:
                insort(self.keys, key)
            self.objects[key] = (data, self.born[key])
        self.spoiled.clear()

    def read(self, key: str) -> bytes:
        try:
            return self.objects[key][0]
        except KeyError:
            raise errors.ObjectNotFoundError(key=key) from None

    def info(self, key: str) -> ObjectInfo:
        data, modified_s = self.objects[key]
        return ObjectInfo(key, len(data), xxhash.xxh3_64_hexdigest(data), modified_s)

    def under(self, prefix: str) -> list[str]:
        start = bisect_left(self.keys, prefix)
        found = []
        for key in self.keys[start:]:
            if not key.startswith(prefix):
                break
            found.append(key)
        return found


class SimConnection(StorageBackend):
    """One process's connection to the store."""

    name = "sim"

    def __init__(self, store: SimStore, process: Process, rng: random.Random, weather: Weather) -> None:
        self.store = store
        self.process = process
        self.weather = weather
        self._rng = rng

    async def create(self, key: str, data: bytes, *, timeout_s: float | None = None) -> ObjectInfo:
        return await self._write(lambda: self.store.create(key, data, self.process.name), key)

    async def write(
        self, key: str, data: bytes, *, if_match: str | None = None, timeout_s: float | None = None
    ) -> ObjectInfo:
        raise AssertionError("the engine overwrites nothing")

    async def delete(self, key: str, *, timeout_s: float | None = None) -> None:
        await self._write(lambda: self.store.delete(key, self.process.name), key)

    async def read(self, key: str, *, timeout_s: float | None = None) -> bytes:
        return self._received(key, await self._read(lambda: self.store.read(key), key))

    async def read_range(self, key: str, start: int, length: int, *, timeout_s: float | None = None) -> bytes:
        return self._received(key, await self._read(lambda: self.store.read(key)[start : start + length], key))

    def _received(self, key: str, data: bytes) -> bytes:
        """Return what arrives of a body."""
        weather = self.weather
        if not (weather.truncated or weather.altered) or not data:
            return data
        drawn = self._rng.random()
        if drawn >= weather.truncated + weather.altered:
            return data
        self.store.damaged.add(key)
        at = self._rng.randrange(len(data))
        self.store.note("damaged", self.process.name, key, at)
        return data[:at] if drawn < weather.truncated else altered(data, at)

    async def stat(self, key: str, *, timeout_s: float | None = None) -> ObjectInfo:
        await self._read(lambda: self.store.read(key), key)
        return self.store.info(key)

    async def list_folders(self, prefix: str, *, timeout_s: float | None = None) -> tuple[str, ...]:
        return await self._read(
            lambda: tuple(sorted({key[len(prefix) :].split("/")[0] for key in self.store.under(prefix)})), prefix
        )

    async def list(
        self, prefix: str, *, after: str | None = None, limit: int = 1000, timeout_s: float | None = None
    ) -> ListPage:
        """List over a span of time: what comes or goes meanwhile may be seen or not, in any combination."""
        loop = asyncio.get_running_loop()
        before: dict[str, ObjectInfo] = {}

        def begin() -> float:
            before.update({key: self.store.info(key) for key in self.store.under(prefix)})
            return loop.time()

        begun_s = await self._read(begin, prefix)
        await asyncio.sleep(self._latency())
        found = {key: info for key, info in before.items() if key in self.store.objects or self._rng.random() < 0.5}
        for key in self.store.under(prefix):
            if key not in before and self._rng.random() < 0.5:
                found[key] = self.store.info(key)
        keys = sorted(found)
        limit = min(limit, self.weather.page_max)
        start = 0 if after is None else bisect_right(keys, after)
        page = [found[key] for key in keys[start : start + limit]]
        await self.process.gate()
        return ListPage(tuple(page), more=len(keys) > start + limit, server_s=begun_s)

    def _latency(self) -> float:
        return self._rng.uniform(*self.weather.latency_s)

    async def _read(self, look: Callable[[], Any], key: str) -> Any:
        await self.process.gate()
        weather, drawn = self.weather, self._rng.random()
        lost = weather.lost_request + weather.lost_reply
        if drawn < lost:
            await self._wait(weather.timeout_s)
            raise errors.NetworkError(key=key)
        lost += weather.unavailable
        if drawn < lost:
            await self._wait(self._latency())
            raise errors.StorageReadError(f"503 to the read of {key!r}", key=key, status=503)
        delay_s = self._latency()
        if drawn < lost + weather.stall:
            delay_s += self._rng.uniform(0, weather.stall_s)
        await asyncio.sleep(min(delay_s, weather.timeout_s))
        if delay_s > weather.timeout_s:
            await self.process.gate()
            raise errors.TimeoutError(timeout_s=weather.timeout_s, key=key)
        try:
            found = look()
        finally:
            await asyncio.sleep(self._latency())
            await self.process.gate()
        return found

    async def _write(self, apply: Callable[[], Any], key: str) -> Any:
        await self.process.gate()
        loop, weather, rng = asyncio.get_running_loop(), self.weather, self._rng
        fate = self._fate()
        self.store.note("send", self.process.name, key, fate)
        if fate == "conflict":
            await self._wait(self._latency())
            raise errors.ConcurrentModificationError(key=key)
        if fate == "refused":
            await self._wait(self._latency())
            raise errors.StorageWriteError("slow down", key=key, status=429)
        if fate == "unavailable":
            await self._wait(self._latency())
            raise errors.OutcomeUnknownError(key=key)
        delay_s = self._latency()
        if fate == "late":
            delay_s += weather.timeout_s + rng.uniform(0, weather.late_s)
        elif fate == "stall":
            delay_s += rng.uniform(0, weather.stall_s)
        elif fate == "duplicate":
            loop.call_later(delay_s + rng.uniform(0, weather.late_s), _quietly, apply)
        answer: asyncio.Future[Any] = loop.create_future()
        if fate != "lost_request":
            # The packet travels by itself: its sender may die, and it arrives all the same.
            loop.call_later(delay_s, _arrive, apply, answer)
        if fate in ("lost_request", "late", "lost_reply"):
            await self._wait(weather.timeout_s)
            raise errors.OutcomeUnknownError(key=key)
        try:
            async with asyncio.timeout(weather.timeout_s):
                result = await asyncio.shield(answer)
        except TimeoutError:
            await self.process.gate()
            raise errors.OutcomeUnknownError(key=key) from None
        finally:
            # After the timeout nobody looks at the answer any more.
            answer.add_done_callback(lambda done: done.cancelled() or done.exception())
        await self._wait(self._latency())
        if fate == "unavailable_applied":
            raise errors.OutcomeUnknownError(key=key)
        if isinstance(result, Exception):
            raise result
        return result

    async def _wait(self, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        await self.process.gate()

    def _fate(self) -> str:
        drawn = self._rng.random()
        for name in FATES:
            drawn -= getattr(self.weather, name)
            if drawn < 0:
                return name
        return "stall" if drawn < self.weather.stall else "fine"


def altered(data: bytes, at: int) -> bytes:
    """Return data with one byte changed."""
    return data[:at] + bytes([data[at] ^ 0x41]) + data[at + 1 :]


def _arrive(apply: Callable[[], Any], answer: "asyncio.Future[Any]") -> None:
    try:
        result = apply()
    except errors.ParqueDBError as error:
        result = error
    if not answer.done():
        answer.set_result(result)


def _quietly(apply: Callable[[], Any]) -> None:
    try:
        apply()
    except errors.ParqueDBError:
        return
