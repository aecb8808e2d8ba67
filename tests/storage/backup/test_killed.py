"""Killed at every single step: a backup is whole or none, a restored namespace is whole or cannot be opened."""

import pytest

from parquedb.errors import CorruptionError
from parquedb.storage.backends.memory import MemoryBackend
from parquedb.storage.log.entry import UNFINISHED
from tests.support.backups import archive, contents, inspected, put_back, take
from tests.support.engines import NAMESPACE, opened, run
from tests.support.killed import Killed, Life
from tests.support.vault import furnish, verified

OTHER = "others"


async def furnished() -> MemoryBackend:
    """Return a store with two namespaces, one of which has some of everything."""
    store = MemoryBackend()
    await furnish(store)
    async with opened(store, namespace=OTHER) as owner:
        await run(owner, "create", "a", {"n": 1})
    return store


async def steps_of(action: str, source: MemoryBackend) -> int:
    life, place = Life(), MemoryBackend()
    await take(life.connect(source), life.connect(place), namespaces=[NAMESPACE, OTHER], parallel=1)
    if action == "restore":
        life = Life()
        await put_back(life.connect(place), life.connect(MemoryBackend()), parallel=1)
    return life.calls


@pytest.mark.parametrize("applied", [False, True], ids=["before the call", "after it"])
async def test_a_backup_killed_at_any_step_is_none_or_whole_and_the_next_one_goes_on(applied: bool) -> None:
    source, reused = await furnished(), 0
    before = await contents(source)
    for step in range(await steps_of("backup", source)):
        life, place = Life(step, applied=applied), MemoryBackend()
        with pytest.raises(Killed):
            await take(life.connect(source), life.connect(place), namespaces=[NAMESPACE, OTHER], parallel=1)
        assert (await inspected(place)).ok, "whatever calls itself a point can be restored"
        catalogue, made = await take(source, place, namespaces=[NAMESPACE, OTHER])
        reused += made.copied.objects < catalogue.objects
        assert (await inspected(place)).ok
        target = MemoryBackend()
        await put_back(place, target)
        assert await contents(target) == {key: data for key, data in before.items() if key in await contents(target)}
    assert reused > 20, "the copies of a killed backup are made again"
    assert await contents(source) == before, "a backup changes nothing"


@pytest.mark.parametrize("applied", [False, True], ids=["before the call", "after it"])
async def test_a_restore_killed_at_any_step_leaves_nothing_that_opens_as_half_a_database(applied: bool) -> None:
    source, place, whole = await furnished(), MemoryBackend(), MemoryBackend()
    await take(source, place, namespaces=[NAMESPACE, OTHER])
    await put_back(place, whole)
    goal, refused = await contents(whole), 0
    for step in range(await steps_of("restore", source)):
        life, target = Life(step, applied=applied), MemoryBackend()
        with pytest.raises(Killed):
            await put_back(life.connect(place), life.connect(target), parallel=1)
        for namespace in (NAMESPACE, OTHER):
            there = await contents(target, f"{namespace}/")
            if not there or there == {key: data for key, data in goal.items() if key.startswith(f"{namespace}/")}:
                continue  # Not begun, or whole.
            copy = MemoryBackend()
            for key, data in there.items():
                await copy.create(key, data)
            with pytest.raises(CorruptionError, match="a restore is at work here or was broken off"):
                async with opened(copy, namespace=namespace):
                    pass
            assert await contents(copy) == there, "who could not open it has changed nothing"
            refused += 1
        if await contents(target) != goal:
            await put_back(place, target)
        assert await contents(target) == goal
    assert refused > 50


async def test_verify_says_of_a_broken_restore_that_it_is_one() -> None:
    source, place, target = await furnished(), MemoryBackend(), MemoryBackend()
    await take(source, place)
    steps = await steps_of("restore", source)
    with pytest.raises(Killed):
        await put_back(Life().connect(place), Life(steps // 3).connect(target), parallel=1)
    report = await verified(target)
    assert not report.ok
    [finding] = [one for one in report.findings if one.key.endswith(UNFINISHED)]
    assert finding.code == "RESTORE_UNFINISHED"
    assert "Run the same restore again" in finding.advice


async def test_no_namespace_of_several_can_be_opened_before_all_are_whole() -> None:
    source, place = await furnished(), MemoryBackend()
    await take(source, place, namespaces=[NAMESPACE, OTHER])
    steps = await steps_of("restore", source)
    ends = 0
    for step in range(steps):
        life, target = Life(step), MemoryBackend()
        with pytest.raises(Killed):
            await put_back(life.connect(place), life.connect(target), parallel=1)
        there = await contents(target)
        marked = [name for name in (NAMESPACE, OTHER) if f"{name}/log/0-unfinished-restore" in there]
        if len(marked) == 1 and len(there) > 2:
            ends += 1  # One has been let go of: then nothing else may be missing.
            await put_back(place, whole := MemoryBackend())
            assert await contents(whole) == {key: data for key, data in there.items() if "0-unfinished" not in key}
    assert ends > 0


async def test_what_was_restored_passes_verify_and_is_owned_in_a_next_epoch() -> None:
    source, place, target = await furnished(), MemoryBackend(), MemoryBackend()
    await take(source, place, namespaces=[NAMESPACE, OTHER])
    [point, *_] = [one for one in await put_back(place, target) if one.namespace == NAMESPACE]
    assert (await verified(target)).ok
    async with opened(target) as owner:
        assert owner._data.epoch == point.tail + 1 > point.epoch
        assert (await run(owner, "get", "last"))["n"] == 1
    assert (await verified(target)).ok
    assert (await archive(place).points()) != []
