"""An archive over time: only what is new is copied, old points stay, and pruning removes what nobody needs."""

from datetime import timedelta
from pathlib import Path

import pytest

from parquedb.clock import ManualClock
from parquedb.errors import ConflictError, CorruptionError, InvalidInputError, StorageWriteError
from parquedb.errors import TimeoutError as NoAnswerError
from parquedb.storage.backends.memory import MemoryBackend
from parquedb.storage.backup.archive import BACKUP, OBJECTS, POINTS, PRUNE, WORK_MAX_S
from parquedb.storage.backup.pruning import kept_points, prune
from tests.support.backups import archive, contents, inspected, put_back, take
from tests.support.engines import NAMESPACE, opened, run
from tests.support.killed import Killed, Life
from tests.support.vault import furnish, verified


async def grown(turns: int = 3) -> tuple[MemoryBackend, MemoryBackend, list[str]]:
    """Return a store, an archive, and the points that were taken while the store grew."""
    clock = ManualClock()
    source, place, points = MemoryBackend(), MemoryBackend(), list[str]()
    await furnish(source)
    for turn in range(turns):
        async with opened(source) as owner:
            await run(owner, "create", f"turn{turn}", {"n": turn})
            await owner.flush()
        clock.advance(3600)
        points.append((await take(source, place, clock=clock))[0].point)
    return source, place, points


async def test_a_second_backup_copies_only_what_is_new() -> None:
    source, place = MemoryBackend(), MemoryBackend()
    await furnish(source)
    first, made = await take(source, place)
    assert (made.copied.objects, made.copied.bytes) == (first.objects, first.bytes)
    _, made = await take(source, place)
    assert made.copied.objects == 0, "nothing has changed"
    async with opened(source) as owner:
        await run(owner, "create", "new", {"n": 1})
    second, made = await take(source, place)
    assert made.copied.objects == 3, "open, write, close"
    assert made.copied.bytes < second.bytes / 4


async def test_earlier_points_stay_restorable_and_show_what_was_then() -> None:
    _, place, points = await grown()
    assert await archive(place).points() == points
    for turn, point in enumerate(points):
        target = MemoryBackend()
        await put_back(place, target, point=point)
        async with opened(target) as owner:
            assert (await run(owner, "get", f"turn{turn}"))["n"] == turn
            assert await run(owner, "get", f"turn{turn + 1}") is None
        assert (await verified(target)).ok


async def test_points_of_one_second_are_in_the_order_in_which_they_were_taken() -> None:
    clock, source, place, points = ManualClock(), MemoryBackend(), MemoryBackend(), list[str]()
    await furnish(source)
    for _ in range(8):
        clock.advance(0.001)
        points.append((await take(source, place, clock=clock))[0].point)
    assert await archive(place).points() == points
    assert await archive(place).find() == points[-1]


async def test_the_point_that_was_just_made_stays_though_others_come_from_a_clock_that_was_ahead() -> None:
    _, place, points = await grown()
    pruned = await prune(archive(place), 1, made=points[0])
    assert pruned.points == (points[1],)
    assert await archive(place).points() == [points[0], points[2]]
    assert (await inspected(place)).ok


async def test_pruning_removes_old_points_and_only_what_no_other_needs() -> None:
    _, place, points = await grown(4)
    before = await contents(place, OBJECTS)
    pruned = await prune(archive(place), 2)
    assert pruned.points == tuple(points[:2])
    after = await contents(place, OBJECTS)
    assert 0 < pruned.objects == len(before) - len(after)
    assert pruned.bytes == sum(map(len, before.values())) - sum(map(len, after.values()))
    report = await inspected(place)
    assert report.ok
    assert (report.points, report.objects) == (tuple(points[2:]), len(after)), "nothing is left that nobody needs"
    assert (await prune(archive(place), 2)).objects == 0


async def test_pruning_killed_at_any_step_leaves_only_whole_points_and_ends_the_next_time() -> None:
    _, place, points = await grown()
    whole = await contents(place)
    life = Life()
    await prune(archive(life.connect(await copy_of(whole))), 1)
    for step in range(life.calls):
        for applied in (False, True):
            left = await copy_of(whole)
            with pytest.raises(Killed):
                await prune(archive(life_of(step, applied).connect(left)), 1)
            assert (await inspected(left)).ok
            assert points[-1] in await archive(left).points()
            for mark in await archive(left).marks(PRUNE):
                await left.delete(mark)  # A day later.
            await prune(archive(left), 1)
            report = await inspected(left)
            assert (report.points, report.objects) == (tuple(points[-1:]), len(await contents(left, OBJECTS)))


def life_of(steps: int, applied: bool) -> Life:
    return Life(steps, applied=applied)


async def copy_of(objects: dict[str, bytes]) -> MemoryBackend:
    made = MemoryBackend()
    for key, data in objects.items():
        await made.create(key, data)
    return made


def test_of_each_namespace_the_newest_points_are_kept() -> None:
    held = {"1": ["a", "b"], "2": ["a", "b"], "3": ["a"], "4": ["a"], "5": ["a"]}
    assert kept_points(held, 1) == {"2", "5"}, "b was backed up last in 2"
    assert kept_points(held, 2) == {"1", "2", "4", "5"}
    assert kept_points({"1": ["a"], "2": ["a"], "3": ["a"]}, 2) == {"2", "3"}


async def test_what_the_last_full_backup_holds_outlives_many_of_one_namespace() -> None:
    source, place = MemoryBackend(), MemoryBackend()
    for name in (NAMESPACE, "others"):
        async with opened(source, namespace=name) as owner:
            await run(owner, "create", "a", {"n": 1})
    clock = ManualClock()
    full, _ = await take(source, place, clock=clock, namespaces=[NAMESPACE, "others"])
    for _ in range(3):
        clock.advance(60)
        await take(source, place, clock=clock)
    await prune(archive(place), 1)
    await put_back(place, target := MemoryBackend(), point=full.point, namespaces=["others"])
    assert await contents(target)


async def test_nothing_is_removed_while_a_backup_relies_on_what_it_found() -> None:
    _, place, _ = await grown()
    mark = await archive(place).mark(BACKUP, "somebody")
    before = await contents(place)
    with pytest.raises(ConflictError, match="a backup is being taken"):
        await prune(archive(place), 1)
    assert await contents(place) == before, "its own mark is gone again"
    await archive(place).unmark(mark)
    assert (await prune(archive(place), 1)).points


async def test_a_backup_waits_for_a_pruning_and_gives_up_in_the_end() -> None:
    source, place, _ = await grown()
    clock = ManualClock()
    await archive(place).mark(PRUNE, "somebody")
    with pytest.raises(ConflictError, match="being removed"):
        await take(source, place, clock=clock)
    assert clock.boot_s() >= 30
    assert len(await archive(place).points()) == 3


async def test_the_mark_of_somebody_who_was_killed_stops_counting_after_a_day() -> None:
    clock = ManualClock()
    place = MemoryBackend(clock=clock)
    await archive(place).mark(BACKUP, "killed")
    clock.advance(WORK_MAX_S - 1)
    assert len(await archive(place).marks(BACKUP)) == 1
    clock.advance(1)
    assert await archive(place).marks(BACKUP) == []
    assert await contents(place) == {}


class Paused(MemoryBackend):
    """A store that stands still for a day when the catalogue is written, so that the mark of the backup runs out."""

    def __init__(self, clock: ManualClock, *, before: bool) -> None:
        super().__init__(clock=clock)
        self._before = before

    async def create(self, key: str, data: bytes, *, timeout_s: float | None = None):
        if key.startswith(POINTS) and self._before:
            self._clock.advance(WORK_MAX_S)
        return await super().create(key, data)

    async def exists(self, key: str, *, timeout_s: float | None = None) -> bool:
        if not self._before:
            self._clock.advance(WORK_MAX_S)
        return await super().exists(key)


@pytest.mark.parametrize("before", [True, False])
async def test_a_backup_that_slept_past_its_mark_makes_no_point(before: bool) -> None:
    clock, source = ManualClock(), MemoryBackend()
    await furnish(source)
    place = Paused(clock, before=before)
    with pytest.raises(NoAnswerError, match="24 hours"):
        await take(source, place, clock=clock)
    assert await archive(place).points() == []


async def test_where_a_catalogue_is_damaged_nothing_is_removed() -> None:
    _, place, points = await grown()
    await place.write(POINTS + points[-1], b"{}")
    before = await contents(place)
    with pytest.raises(CorruptionError):
        await prune(archive(place), 1)
    assert await contents(place) == before
    with pytest.raises(InvalidInputError):
        await prune(archive(place), 0)


class KeepsAll(MemoryBackend):
    """A bucket whose objects cannot be deleted."""

    async def delete(self, key: str, *, timeout_s: float | None = None) -> None:
        raise StorageWriteError(key=key)


async def test_backups_go_to_a_place_where_nothing_can_be_deleted() -> None:
    source, place = MemoryBackend(), KeepsAll()
    await furnish(source)
    for _ in range(2):
        await take(source, place)
    assert len(await archive(place).points()) == 2
    await put_back(place, target := MemoryBackend())
    assert (await verified(target)).ok
    with pytest.raises(ConflictError):
        await prune(archive(place), 1)


async def test_two_databases_that_went_apart_share_an_archive_without_harm() -> None:
    source, place = MemoryBackend(), MemoryBackend()
    await furnish(source)
    await take(source, place)
    twin = MemoryBackend()
    await put_back(place, twin)
    ends = []
    for store, value in ((source, "one"), (twin, "other")):
        async with opened(store) as owner:
            await run(owner, "create", "apart", {"n": value})
        ends.append((value, (await take(store, place))[0].point))
    for value, point in ends:
        await put_back(place, target := MemoryBackend(), point=point)
        async with opened(target) as owner:
            assert (await run(owner, "get", "apart"))["n"] == value


async def test_progress_ends_where_it_said_it_would(tmp_path: Path) -> None:
    source, place, told = MemoryBackend(), MemoryBackend(), []
    await furnish(source)
    catalogue, _ = await take(source, place, progress=told.append)
    assert (told[-1].objects_done, told[-1].bytes_done) == (catalogue.objects, catalogue.bytes)
    assert told[-1].bytes_total == told[-1].bytes_done
    assert [one.bytes_done for one in told] == sorted(one.bytes_done for one in told)
    told.clear()
    await put_back(place, MemoryBackend(), progress=told.append)
    assert (told[-1].objects_done, told[-1].bytes_done) == (catalogue.objects, catalogue.bytes)


async def test_a_catalogue_says_when_and_of_what() -> None:
    clock = ManualClock()
    source, place = MemoryBackend(), MemoryBackend()
    await furnish(source)
    catalogue, _ = await take(source, place, clock=clock)
    again = await archive(place).catalogue(catalogue.point)
    assert again == catalogue
    assert again.time - clock.now() < timedelta(seconds=1)
    [namespace] = again.namespaces
    assert (namespace.namespace, again.source) == (NAMESPACE, "/data")
    assert namespace.seq > 30
    assert namespace.epoch < namespace.tail
