"""What a later version wrote is refused by name, and nothing of it is changed; damage is still damage."""

import msgspec
import pytest
import xxhash

from parquedb.clock import SystemClock
from parquedb.documents.codec import decode, encode
from parquedb.errors import CorruptionError, NewerFormatError, OutcomeUnknownError
from parquedb.storage.backends.memory import MemoryBackend
from parquedb.storage.formats import CHECKSUM_BYTES
from parquedb.storage.log.entry import LogEntry, decode_entry, encode_entry, entry_key
from parquedb.storage.log.events import decode_body, decode_packed
from parquedb.storage.log.manifest import Manifest, decode_manifest, encode_manifest
from parquedb.storage.verification.verifier import Verifier
from tests.support.engines import NAMESPACE, engine, inline, opened, run, settings

PREFIX = f"{NAMESPACE}/"


def resealed(content: bytes) -> bytes:
    """Return what would be stored, with its checksum."""
    return content + xxhash.xxh3_128_digest(content)


def raised(data: bytes) -> bytes:
    """Return an object as a version would write it that has raised its format."""
    return resealed(data[:3] + bytes([data[3] + 1]) + data[4:-CHECKSUM_BYTES])


async def everything(storage: MemoryBackend) -> dict[str, bytes]:
    page = await storage.list("", limit=1000)
    return {info.key: await storage.read(info.key) for info in page.objects}


async def stored() -> MemoryBackend:
    storage = MemoryBackend()
    async with opened(storage) as owner:
        for number in range(3):
            await run(owner, "create", f"d{number}", {"n": number})
    return storage


async def replaced(storage: MemoryBackend, key: str, data: bytes) -> None:
    await storage.delete(key)
    await storage.create(key, data)


def newest_key(found: dict[str, bytes], folder: str) -> str:
    return min(key for key in found if key.startswith(PREFIX + folder))


async def test_an_owner_refuses_a_log_of_a_later_format_and_changes_nothing() -> None:
    storage = await stored()
    key = newest_key(await everything(storage), "log/")
    await replaced(storage, key, raised(await storage.read(key)))
    before = await everything(storage)
    with pytest.raises(NewerFormatError, match=r"later version of ParqueDB.*format 2, known up to 1") as caught:
        await engine(storage).open()
    assert caught.value.key == key
    assert not caught.value.retryable
    assert await everything(storage) == before


async def test_an_owner_refuses_an_entry_of_a_kind_it_does_not_know_instead_of_passing_it_over() -> None:
    storage = await stored()
    key = newest_key(await everything(storage), "log/")
    entry = decode_entry(key, await storage.read(key))
    unknown = LogEntry(msgspec.structs.replace(entry.header, kind="merge"), entry.body)
    await replaced(storage, key, encode_entry(unknown))
    before = await everything(storage)
    with pytest.raises(NewerFormatError, match="a log entry of the kind 'merge'"):
        await engine(storage).open()
    assert await everything(storage) == before


def raised_manifest(data: bytes) -> bytes:
    return raised(data)


def grown_manifest(data: bytes) -> bytes:
    wire = decode(data[4:-CHECKSUM_BYTES])
    return resealed(data[:4] + encode({**wire, "indexes": {}}))


@pytest.mark.parametrize(
    ("change", "words"), [(raised_manifest, "format 2"), (grown_manifest, "a manifest with indexes")]
)
def test_a_manifest_of_a_later_version_is_no_damaged_one(change, words: str) -> None:
    manifest = Manifest("posts", b"i" * 16, 4, 9, b"c" * 16, 12, 5)
    with pytest.raises(NewerFormatError, match=words):
        decode_manifest("posts/manifest/9", change(encode_manifest(manifest)))


def test_an_event_of_an_unknown_action_is_refused_instead_of_taken_for_a_change() -> None:
    body = encode([[["c", "a", {}], ["z", "a", {}]], []])
    for read in (decode_packed, decode_body):
        with pytest.raises(NewerFormatError, match="an event with the action 'z'") as caught:
            read("posts/log/1", body)
        assert caught.value.key == "posts/log/1"


@pytest.mark.parametrize("magic", [b"PQL0", b"PQLx", b"PQM1", b"PAR1"])
async def test_a_whole_object_that_is_none_of_ours_is_damage(magic: bytes) -> None:
    storage = await stored()
    data = await storage.read(PREFIX + entry_key(1))
    with pytest.raises(CorruptionError, match="not a log entry"):
        decode_entry("k", resealed(magic + data[4:-CHECKSUM_BYTES]))


async def test_a_later_format_with_a_wrong_checksum_is_damage() -> None:
    storage = await stored()
    data = raised(await storage.read(PREFIX + entry_key(1)))
    with pytest.raises(CorruptionError):
        decode_entry("k", data[:-1] + bytes([data[-1] ^ 1]))


async def test_an_owner_whose_position_a_later_version_has_taken_steps_down() -> None:
    storage = await stored()
    async with opened(storage) as owner:
        key = PREFIX + entry_key(owner.tail + 1)
        await storage.create(key, raised(await storage.read(PREFIX + entry_key(owner.tail))))
        with pytest.raises(OutcomeUnknownError):
            await run(owner, "create", "late", {"n": 9})
        assert owner.state != "open"


async def test_a_bystander_refuses_it_too_and_names_the_object() -> None:
    storage = await stored()
    key = newest_key(await everything(storage), "log/")
    await replaced(storage, key, raised(await storage.read(key)))
    with pytest.raises(NewerFormatError, match="later version") as caught:
        await Verifier(storage, NAMESPACE, settings(), clock=SystemClock(), run=inline).verify()
    assert caught.value.key == key
