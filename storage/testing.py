# ruff: noqa: S101 - a test suite states what it expects by asserting
"""What every storage backend must do, as tests to inherit: subclass `StorageContract` in a test module.

    class TestMyBackend(StorageContract):
        def make_backend(self) -> StorageBackend:
            return MyBackend(...)

The tests are coroutines; run them with pytest-asyncio in auto mode.
"""

import asyncio
import random
import tempfile
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from parquedb.errors import (
    AlreadyExistsError,
    ETagMismatchError,
    InvalidInputError,
    InvalidPathError,
    ObjectNotFoundError,
    ParqueDBError,
    PathTraversalError,
)
from parquedb.storage.backend import Range, StorageBackend
from parquedb.storage.backends.probe import probe
from parquedb.storage.keys import encode_segment

ErrorT = TypeVar("ErrorT", bound=ParqueDBError)

ODD_NAMES = (
    "a..b",
    ".hidden",
    "..",
    "file.with.dots.txt",
    "%2e%2e",
    "a b",
    "é",
    "e\u0301",
    "Ünïcode/slash",
    "~tmp",
    "+",
)
HOSTILE_KEYS = (
    "../x",
    "a/../../x",
    "/etc/x",
    "a//b",
    ".",
    "..",
    "a/./b",
    "a\\..\\x",
    "a\0b",
    "",
    "a/",
    "A",
    "a b",
    "é",
)
RESERVED_KEYS = ("~tmp/x", "~lock", "~other/x", "a/~tmp", "~probe")


async def expect(error: type[ErrorT], call: Awaitable[Any]) -> ErrorT:
    """Await the call and return the error it raises; anything but `error` fails the test."""
    try:
        result = await call
    except error as raised:
        return raised
    raise AssertionError(f"expected {error.__name__}, got {result!r}")


class StorageContract(ABC):
    """The contract.

    Attributes:
        racers: Creators of one key in the race tests; few where the store serialises them slowly.
        etag_in_lists: Whether listings carry etags.
        nested_order: Whether a listing across folders is in byte order also where a folder and a longer name compete
            (`a/` and `a-b`). Within one folder order is required of every store.
        forgets_empty_folders: Whether a folder is gone with its last object.
    """

    racers = 8
    etag_in_lists = True
    nested_order = True
    forgets_empty_folders = True

    @abstractmethod
    def make_backend(self) -> StorageBackend:
        """Return a new backend on this test's own, initially empty place; a second call gives the same place."""

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[StorageBackend]:
        """Give a backend and close it afterwards."""
        backend = self.make_backend()
        try:
            yield backend
        finally:
            await backend.close()

    async def test_what_was_created_is_read_at_once(self) -> None:
        """Read your own create, also through another handle."""
        async with self.opened() as store, self.opened() as other:
            info = await store.create("ns/log/1", b"hello")
            assert (info.key, info.size) == ("ns/log/1", 5)
            assert await store.read("ns/log/1") == b"hello"
            assert await other.read("ns/log/1") == b"hello"

    async def test_a_second_create_is_refused_and_changes_nothing(self) -> None:
        """Create-only means it."""
        async with self.opened() as store:
            await store.create("ns/log/1", b"first")
            error = await expect(AlreadyExistsError, store.create("ns/log/1", b"second"))
            assert error.key == "ns/log/1"
            assert str(error) == "object 'ns/log/1' already exists"
            assert await store.read("ns/log/1") == b"first"

    async def test_a_file_is_stored_like_its_content(self) -> None:
        """Also one that is larger than what is read of it at a time; and only where nothing is."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "object"
            path.write_bytes(content := bytes(range(256)) * 12_000 + b"end")
            async with self.opened() as store:
                info = await store.create_file("ns/data/1", path)
                assert (info.key, info.size) == ("ns/data/1", len(content))
                assert info.etag == (await store.stat("ns/data/1")).etag
                assert await store.read("ns/data/1") == content
                path.write_bytes(b"other")
                await expect(AlreadyExistsError, store.create_file("ns/data/1", path))
                assert await store.read("ns/data/1") == content

    async def test_of_many_racing_creators_exactly_one_wins(self) -> None:
        """The winner's bytes are what is stored, whole."""
        async with self.opened() as one, self.opened() as two:
            bodies = [bytes([index]) * 10_000 for index in range(self.racers)]
            calls = [(one, two)[index % 2].create("ns/log/1", body) for index, body in enumerate(bodies)]
            results = await asyncio.gather(*calls, return_exceptions=True)
            winners = [body for body, result in zip(bodies, results, strict=True) if not isinstance(result, Exception)]
            losers = [result for result in results if isinstance(result, Exception)]
            assert [type(loser) for loser in losers] == [AlreadyExistsError] * (self.racers - 1)
            assert winners == [await two.read("ns/log/1")]

    async def test_a_missing_object_is_named_in_the_error(self) -> None:
        """For every way of reading."""
        async with self.opened() as store:
            reads = (store.read("ns/none"), store.read_range("ns/none", 0, 1), store.stat("ns/none"))
            several = store.read_ranges([Range("ns/none", 0, 1), Range("ns/none", 5, 1)])
            for read in (*reads, store.read_range("ns/none", 0, 0), several):
                error = await expect(ObjectNotFoundError, read)
                assert error.key == "ns/none"
                assert "ns/none" in str(error)

    async def test_ranges_are_half_open_and_cut_at_the_end(self) -> None:
        """Also the ones that HTTP refuses."""
        async with self.opened() as store:
            await store.create("ns/data/1", b"0123456789")
            await store.create("ns/data/empty", b"")
            for start, length in ((0, 10), (0, 1), (3, 4), (8, 10), (9, 1), (10, 5), (99, 1), (0, 0), (5, 0), (0, 99)):
                found = await store.read_range("ns/data/1", start, length)
                assert found == b"0123456789"[start : start + length], (start, length)
            assert await store.read("ns/data/empty") == b""
            assert await store.read_range("ns/data/empty", 0, 5) == b""
            await store.create("ns/data/2", b"abcdef")
            spans = [("1", 7, 9), ("1", 0, 2), ("2", 3, 1), ("1", 3, 0), ("2", 99, 1)]
            together = await store.read_ranges([Range(f"ns/data/{name}", *span) for name, *span in spans])
            assert list(together) == [b"789", b"01", b"d", b"", b""]
            await expect(InvalidInputError, store.read_range("ns/data/1", -1, 5))
            await expect(InvalidInputError, store.read_ranges([Range("ns/data/1", 0, 1), Range("ns/data/1", -1, 5)]))
            error = await expect(InvalidInputError, store.read_range("ns/data/1", 0, -5))
            assert "from 0 up" in str(error)

    async def test_pages_of_a_listing_join_to_all_keys_in_order(self) -> None:
        """Every limit gives the same sequence; `after` is exclusive and need not exist."""
        async with self.opened() as store:
            keys = [f"ns/log/{number:020}" for number in range(12)]
            for key in random.Random(1).sample(keys, len(keys)):  # noqa: S311 - an order, not a secret
                await store.create(key, b"x")
            await store.create("ns/logs", b"not inside")
            for limit in (1, 5, 12, 1000):
                found: list[str] = []
                after = None
                while True:
                    page = await store.list("ns/log/", after=after, limit=limit)
                    assert len(page.objects) <= limit
                    found += [info.key for info in page.objects]
                    if not page.more:
                        break
                    after = found[-1]
                assert found == keys, limit
            page = await store.list("ns/log/", after="ns/log/" + "0" * 19 + "4x", limit=2)
            assert [info.key for info in page.objects] == keys[5:7]
            assert (await store.list("ns/log/", after=keys[-1])).objects == ()
            assert not (await store.list("ns/log/", after=keys[-2], limit=1)).more

    async def test_a_prefix_may_end_inside_a_segment(self) -> None:
        """It compares as text, across folders too."""
        async with self.opened() as store:
            for key in ("ns/manifest/01-a", "ns/manifest/01-b", "ns/manifest/02-a", "ns/mani", "n/x", "nt/x"):
                await store.create(key, b"x")
            for prefix, expected in (
                ("ns/manifest/01", ["ns/manifest/01-a", "ns/manifest/01-b"]),
                ("ns/manifest/01-b", ["ns/manifest/01-b"]),
                ("ns/man", ["ns/mani", "ns/manifest/01-a", "ns/manifest/01-b", "ns/manifest/02-a"]),
                ("n", ["n/x", "ns/mani", "ns/manifest/01-a", "ns/manifest/01-b", "ns/manifest/02-a", "nt/x"]),
                ("ns/none/", []),
                ("ns/mani/", []),
            ):
                page = await store.list(prefix)
                assert [info.key for info in page.objects] == expected, prefix
                assert not page.more

    async def test_keys_are_listed_in_byte_order_across_folders(self) -> None:
        """`-` and `.` come before the slash, digits and letters after it."""
        async with self.opened() as store:
            keys = ["ns/a-b", "ns/a.b", "ns/a/1", "ns/a/b/2", "ns/a0", "ns/a_b", "ns/ab/1"]
            for key in reversed(keys):
                await store.create(key, b"x")
            found = [info.key for info in (await store.list("ns/")).objects]
            assert sorted(found) == keys
            if self.nested_order:
                assert found == keys
            for index, key in enumerate(found):
                page = await store.list("ns/", after=key, limit=3)
                assert [info.key for info in page.objects] == found[index + 1 : index + 4], key

    async def test_a_new_object_is_in_the_next_listing(self) -> None:
        """And a deleted one is not; sizes and times by the store's own clock come with it."""
        async with self.opened() as store, self.opened() as other:
            for number in range(3):
                created = await store.create(f"ns/log/{number}", b"x" * number)
                page = await other.list("ns/log/")
                assert [info.size for info in page.objects] == list(range(number + 1))
                newest = page.objects[-1]
                assert newest.modified_s is not None
                assert abs(page.server_s - newest.modified_s) < 60  # noqa: PLR2004 - seconds; HTTP dates are coarse
                assert newest.etag == (created.etag if self.etag_in_lists else None)
            await store.delete("ns/log/1")
            assert [info.key for info in (await other.list("ns/log/")).objects] == ["ns/log/0", "ns/log/2"]

    async def test_folders_are_the_next_segments_that_hold_something(self) -> None:
        """Plain objects and emptied folders are none."""
        async with self.opened() as store:
            assert await store.list_folders("") == ()
            for key in ("b/log/1", "b/data/x/1", "b/plain", "a-b/log/1", "a/log/1", "gone/log/1", "~probe/x/1"):
                await store.create(key, b"x")
            await store.delete("gone/log/1")
            expected = ("a", "a-b", "b") if self.forgets_empty_folders else ("a", "a-b", "b", "gone")
            assert await store.list_folders("") == expected
            assert await store.list_folders("b/") == ("data", "log")
            assert await store.list_folders("none/") == ()
            error = await expect(InvalidPathError, store.list_folders("b"))
            assert "must end in '/'" in str(error)

    async def test_deleting_twice_is_no_error(self) -> None:
        """Nor deleting what never was."""
        async with self.opened() as store:
            await store.create("ns/log/1", b"x")
            for _ in range(2):
                await store.delete("ns/log/1")
            await store.delete("never/was/here")
            await expect(ObjectNotFoundError, store.read("ns/log/1"))

    async def test_a_deleted_key_can_be_created_again(self) -> None:
        """Nothing of the old object stays."""
        async with self.opened() as store:
            await store.create("ns/log/1", b"old, longer")
            await store.delete("ns/log/1")
            await store.create("ns/log/1", b"new")
            assert await store.read("ns/log/1") == b"new"

    async def test_stat_and_exists_tell_without_reading(self) -> None:
        """The etag is the one that writing returned, without quotes."""
        async with self.opened() as store:
            assert not await store.exists("ns/data/1")
            created = await store.create("ns/data/1", b"12345")
            info = await store.stat("ns/data/1")
            assert (info.key, info.size, info.etag) == ("ns/data/1", 5, created.etag)
            assert info.etag
            assert '"' not in info.etag
            assert info.modified_s is not None
            assert await store.exists("ns/data/1")

    async def test_a_write_replaces_and_shows_at_once(self) -> None:
        """Unlike a create."""
        async with self.opened() as store:
            first = await store.write("ns/hint", b"one, longer")
            second = await store.write("ns/hint", b"two")
            assert first.etag != second.etag
            assert await store.read("ns/hint") == b"two"

    async def test_a_conditional_write_needs_the_current_etag(self) -> None:
        """A stale one, and a missing object, are refused and change nothing."""
        async with self.opened() as store:
            first = await store.create("ns/hint", b"one")
            second = await store.write("ns/hint", b"two", if_match=first.etag)
            error = await expect(ETagMismatchError, store.write("ns/hint", b"three", if_match=first.etag))
            assert (error.key, error.expected) == ("ns/hint", first.etag)
            assert await store.read("ns/hint") == b"two"
            await store.write("ns/hint", b"four", if_match=second.etag)
            await expect(ETagMismatchError, store.write("ns/none", b"x", if_match=first.etag))
            assert not await store.exists("ns/none")

    async def test_of_racing_conditional_writes_exactly_one_wins(self) -> None:
        """All start from the same etag."""
        async with self.opened() as one, self.opened() as two:
            base = await one.create("ns/hint", b"base")
            bodies = [b"%d" % index for index in range(self.racers)]
            calls = [
                (one, two)[index % 2].write("ns/hint", body, if_match=base.etag) for index, body in enumerate(bodies)
            ]
            results = await asyncio.gather(*calls, return_exceptions=True)
            winners = [body for body, result in zip(bodies, results, strict=True) if not isinstance(result, Exception)]
            assert winners == [await two.read("ns/hint")]

    async def test_odd_names_are_data(self) -> None:
        """Every name, once encoded, is a key of its own and comes back from a listing."""
        async with self.opened() as store:
            keys = [f"{encode_segment(name)}/log/1" for name in ODD_NAMES]
            for name, key in zip(ODD_NAMES, keys, strict=True):
                await store.create(key, name.encode())
            for name, key in zip(ODD_NAMES, keys, strict=True):
                assert await store.read(key) == name.encode()
                assert [info.key for info in (await store.list(key)).objects] == [key]
            assert await store.list_folders("") == tuple(sorted(encode_segment(name) for name in ODD_NAMES))

    async def test_hostile_keys_are_refused_by_every_call(self) -> None:
        """Before anything is touched; `PathTraversalError` where the key would climb."""
        async with self.opened() as store:
            for key in HOSTILE_KEYS + RESERVED_KEYS:
                calls = (
                    store.read(key),
                    store.read_range(key, 0, 1),
                    store.read_ranges([Range(key, 0, 1)]),
                    store.create(key, b"x"),
                    store.write(key, b"x"),
                    store.delete(key),
                    store.stat(key),
                    store.exists(key),
                )
                for call in calls:
                    error = await expect(InvalidPathError, call)
                    climbs = ".." in key or key.startswith("/") or "\0" in key
                    assert isinstance(error, PathTraversalError) or not climbs, key
            for prefix in ("../", "/", "a/../", "..", "a/..", "A", "a\0"):
                await expect(InvalidPathError, store.list(prefix))
            assert (await store.list("")).objects == ()

    async def test_a_listing_takes_a_sane_limit_only(self) -> None:
        """1 to 1 000."""
        async with self.opened() as store:
            for limit in (0, -1, 1001):
                error = await expect(InvalidInputError, store.list("", limit=limit))
                assert "1 to 1000" in str(error)

    async def test_a_large_object_comes_back_whole(self) -> None:
        """5 MiB, in full and in parts."""
        async with self.opened() as store:
            data = random.Random(2).randbytes(5 << 20)  # noqa: S311 - filler, not a secret
            info = await store.create("ns/data/big", data)
            assert info.size == len(data)
            assert await store.read("ns/data/big") == data
            assert await store.read_range("ns/data/big", 1 << 20, 1 << 20) == data[1 << 20 : 2 << 20]

    async def test_it_passes_the_probe_and_is_left_clean(self) -> None:
        """What is asked at start-up of an unknown store."""
        async with self.opened() as store:
            await probe(store)
            assert (await store.list("")).objects == ()
