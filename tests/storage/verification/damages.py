"""Kinds of damage to a stored namespace, each with the rule it breaks. `DAMAGES` is also what docs/verify.md shows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import msgspec
import pyarrow as pa
import xxhash
from pyroaring import BitMap

from parquedb.storage.files.data_file import DataFile
from parquedb.storage.files.partial_reads import tail_of
from parquedb.storage.log.entry import UNFINISHED, Kind, entry_key
from parquedb.storage.log.events import Event, RequestRecord, decode_body, encode_body
from parquedb.storage.log.manifest import History, Segment, checksum
from parquedb.storage.verification.rules import Rule
from tests.support.vault import Vault, with_column

Plant = Callable[[Vault], str | tuple[str, ...]]
"""Does the damage; returns the keys of the objects that are to be named."""


@dataclass(frozen=True)
class Damage:
    """One kind of damage.

    Attributes:
        title: What is done, in words.
        plant: See there.
        rule: What a full verification says, of exactly those objects.
        quick: What a quick one says; None: nothing.
    """

    title: str
    plant: Plant
    rule: Rule
    quick: Rule | None


DAMAGES: list[Damage] = []


def damage(rule: Rule, title: str, *, quick: Rule | bool = True) -> Callable[[Plant], Plant]:
    def noted(plant: Plant) -> Plant:
        found = rule if quick is True else None if quick is False else quick
        DAMAGES.append(Damage(title, plant, rule, found))
        return plant

    return noted


def middle(vault: Vault) -> int:
    """Position of a write above the manifest that is not the last entry."""
    return vault.fresh(Kind.WRITE) - 1


# The log.


@damage(Rule.LOG_ENTRY_MISSING, "a log entry above the manifest is deleted")
def _(vault: Vault) -> str:
    return vault.drop(entry_key(middle(vault)))


@damage(Rule.LOG_ENTRY_DAMAGED, "a bit of a log entry flips")
def _(vault: Vault) -> str:
    return vault.flip(entry_key(middle(vault)))


@damage(Rule.LOG_ENTRY_DAMAGED, "the last log entry is cut short")
def _(vault: Vault) -> str:
    return vault.cut(entry_key(vault.tail))


@damage(Rule.LOG_ENTRY_DAMAGED, "a log entry is empty")
def _(vault: Vault) -> str:
    return vault.put(entry_key(middle(vault)), b"")


@damage(Rule.LOG_ENTRY_MISPLACED, "two log entries change places")
def _(vault: Vault) -> tuple[str, ...]:
    return vault.swap(entry_key(middle(vault)), entry_key(middle(vault) + 1))


@damage(Rule.LOG_CHAIN_BROKEN, "an entry with a right checksum names another predecessor")
def _(vault: Vault) -> str:
    return vault.forge(middle(vault), previous=b"x" * 16)


@damage(Rule.LOG_CHAIN_BROKEN, "a rival's entry takes the place of an acknowledged one")
def _(vault: Vault) -> str:
    vault.forge(middle(vault), commit_id=b"x" * 16)
    return entry_key(middle(vault) + 1)


@damage(Rule.LOG_CHAIN_BROKEN, "the manifest ends with another entry than the log goes on from")
def _(vault: Vault) -> str:
    vault.forge_manifest(through_id=b"x" * 16)
    return entry_key(vault.manifest.through + 1)


@damage(Rule.LOG_INCARNATION_FOREIGN, "an entry of another incarnation lies in the log")
def _(vault: Vault) -> str:
    return vault.forge(middle(vault), incarnation=b"x" * 16)


@damage(Rule.LOG_EPOCH_WRONG, "an entry claims the epoch of an earlier owner")
def _(vault: Vault) -> str:
    return vault.forge(middle(vault), epoch=1)


@damage(Rule.LOG_SEQ_WRONG, "an entry skips a seq")
def _(vault: Vault) -> str:
    at = vault.fresh(Kind.WRITE)
    return vault.forge(at, first_seq=vault.entry(at).header.first_seq + 1)


@damage(Rule.LOG_TIME_BACKWARD, "an entry is from before its predecessor")
def _(vault: Vault) -> str:
    return vault.forge(middle(vault), log_time_us=1)


@damage(Rule.LOG_BASE_WRONG, "an entry forgets the newest checkpoint")
def _(vault: Vault) -> str:
    return vault.forge(middle(vault), base=None)


@damage(Rule.LOG_BODY_WRONG, "the body of an entry is no list of events")
def _(vault: Vault) -> str:
    return vault.forge(middle(vault), body=b"\xc1")


@damage(Rule.LOG_BODY_WRONG, "an event holds the document of another namespace", quick=False)
def _(vault: Vault) -> str:
    events, records = decode_body("", vault.entry(middle(vault)).body)
    foreign = [Event(one.action, one.id, {**(one.document or {}), "$id": "other/x"}) for one in events]
    return vault.forge(middle(vault), body=encode_body(foreign, records))


@damage(Rule.LOG_REQUEST_TWICE, "one request is answered by two entries")
def _(vault: Vault) -> str:
    for at in (middle(vault), middle(vault) + 1):
        events, _ = decode_body("", vault.entry(at).body)
        vault.forge(at, body=encode_body(events, [RequestRecord("again", "update", 0, 1)]))
    return entry_key(middle(vault) + 1)


@damage(Rule.LOG_NAME_FOREIGN, "a file of another name is put into log/")
def _(vault: Vault) -> str:
    return vault.put("log/readme", b"hello")


@damage(Rule.RESTORE_UNFINISHED, "a restore was broken off at its very end")
def _(vault: Vault) -> str:
    return vault.put(UNFINISHED, b"{}")


@damage(Rule.LOG_TAIL_LOST, "the end of the log is deleted from the manifest's last entry on")
def _(vault: Vault) -> str:
    newest = str(vault.base.manifest)
    for position in range(vault.manifest.through, vault.tail + 1):
        vault.drop(entry_key(position))
    return newest


@damage(Rule.FENCE_MISSING, "an old open entry is deleted")
def _(vault: Vault) -> str:
    return vault.drop(entry_key(1))


@damage(Rule.FENCE_DAMAGED, "a bit of an old open entry flips")
def _(vault: Vault) -> str:
    return vault.flip(entry_key(1))


@damage(Rule.FENCE_DAMAGED, "another entry lies in the place of an open entry")
def _(vault: Vault) -> str:
    return vault.put(entry_key(15), vault.read(entry_key(14)))


# The manifest.


@damage(Rule.MANIFEST_MISSING, "the manifest is deleted")
def _(vault: Vault) -> str:
    return vault.drop(vault.base.manifest)


@damage(Rule.MANIFEST_DAMAGED, "a bit of the manifest flips")
def _(vault: Vault) -> str:
    return vault.flip(vault.base.manifest)


@damage(Rule.MANIFEST_OTHER, "an older manifest takes the place of the newest")
def _(vault: Vault) -> str:
    return vault.put(vault.base.manifest, vault.read(vault.manifest.past[-1][0]))


@damage(Rule.MANIFEST_DISAGREES, "the manifest is one of another namespace")
def _(vault: Vault) -> str:
    return vault.forge_manifest(namespace="other")


@damage(Rule.MANIFEST_DISAGREES, "the manifest folds other entries than its checkpoint says")
def _(vault: Vault) -> str:
    return vault.forge_manifest(through=vault.manifest.through - 1)


@damage(Rule.MANIFEST_FENCES_WRONG, "the manifest forgets an open entry")
def _(vault: Vault) -> str:
    return vault.forge_manifest(fences=vault.manifest.fences[:-1])


@damage(Rule.MANIFEST_PART_UNREADABLE, "the manifest's columns are of no known form")
def _(vault: Vault) -> str:
    return vault.forge_manifest(registry={"n": 5})


@damage(Rule.SESSIONS_WRONG, "a session was last heard of in the future")
def _(vault: Vault) -> str:
    sessions = vault.manifest.sessions
    table = {"floor": 10**9, "sessions": sessions["sessions"]["sessions"]}
    return vault.forge_manifest(sessions={**sessions, "sessions": table})


# Segments.


def history_with(vault: Vault, number: int, **changes: Any) -> History:
    history = vault.manifest.history
    segments = list(history.segments)
    segments[number] = replace(segments[number], **changes)
    return replace(history, segments=tuple(segments))


@damage(Rule.SEGMENT_MISSING, "a history segment is deleted")
def _(vault: Vault) -> str:
    return vault.drop(vault.manifest.history.segments[1].key)


@damage(Rule.SEGMENT_MISSING, "a tail segment is deleted")
def _(vault: Vault) -> str:
    return vault.drop(vault.manifest.tails[0].key)


@damage(Rule.SEGMENT_MISSING, "a segment of request ids is deleted")
def _(vault: Vault) -> str:
    return vault.drop(vault.manifest.request_ids[0].key)


@damage(Rule.SEGMENT_DAMAGED, "a bit of a tail segment flips", quick=False)
def _(vault: Vault) -> str:
    return vault.flip(vault.manifest.tails[0].key)


@damage(Rule.SEGMENT_DAMAGED, "a history segment is cut short")
def _(vault: Vault) -> str:
    return vault.cut(vault.manifest.history.segments[0].key)


@damage(Rule.SEGMENT_DAMAGED, "a bit of a segment of request ids flips", quick=False)
def _(vault: Vault) -> str:
    return vault.flip(vault.manifest.request_ids[0].key)


@damage(Rule.SEGMENT_DISAGREES, "the manifest says that a segment holds one entry more", quick=False)
def _(vault: Vault) -> str:
    segment = vault.manifest.history.segments[0]
    vault.forge_manifest(history=history_with(vault, 0, count=segment.count + 1))
    return segment.key


@damage(Rule.SEGMENT_INDEX_WRONG, "the index of a segment forgets its documents", quick=False)
def _(vault: Vault) -> str:
    segment = vault.manifest.history.segments[0]
    data = vault.read(segment.key)
    blocks, _, _ = msgspec.msgpack.decode(data[segment.index_at :])
    index = msgspec.msgpack.encode([blocks, b"", b""])
    data = data[: segment.index_at] + index
    vault.put(segment.key, data)
    right = {"checksum": checksum(data), "bytes": len(data), "index_checksum": xxhash.xxh3_64_intdigest(index)}
    vault.forge_manifest(history=history_with(vault, 0, **right))
    return segment.key


@damage(Rule.SEGMENT_GAP, "the manifest leaves out a segment in the middle of the history")
def _(vault: Vault) -> str:
    history = vault.manifest.history
    vault.forge_manifest(history=replace(history, segments=(history.segments[0], *history.segments[2:])))
    return history.segments[2].key


@damage(Rule.SEGMENT_GAP, "the manifest lists a segment twice")
def _(vault: Vault) -> str:
    history = vault.manifest.history
    vault.forge_manifest(history=replace(history, segments=(history.segments[0], *history.segments)))
    return history.segments[0].key


@damage(Rule.REQUEST_IDS_WRONG, "a segment of request ids is of no known form", quick=False)
def _(vault: Vault) -> str:
    segment, data = vault.manifest.request_ids[0], msgspec.msgpack.encode([1, 2, 3])
    vault.put(segment.key, data)
    right = Segment(**{**asdict(segment), "checksum": checksum(data)})
    vault.forge_manifest(request_ids=(right, *vault.manifest.request_ids[1:]))
    return segment.key


@damage(Rule.HISTORY_FILE_LOST, "the manifest forgets a loaded file that the history needs")
def _(vault: Vault) -> str:
    loaded = vault.files[3]
    vault.forge_manifest(files=tuple(file.to_wire() for file in vault.files[:3]))
    return loaded.key


# Data files.


@damage(Rule.DATA_FILE_MISSING, "a data file is deleted")
def _(vault: Vault) -> str:
    return vault.drop(vault.files[1].key)


@damage(Rule.DATA_FILE_MISSING, "a data file is renamed")
def _(vault: Vault) -> str:
    key = vault.files[1].key
    vault.path(key).rename(vault.path("data/1-abcd.parquet"))
    return key


@damage(Rule.DATA_FILE_SIZE, "a data file is cut short")
def _(vault: Vault) -> str:
    return vault.cut(vault.files[1].key)


@damage(Rule.DATA_FILE_CHECKSUM, "a bit of a page flips", quick=False)
def _(vault: Vault) -> str:
    return vault.flip(vault.files[0].key, 100)


@damage(Rule.DATA_FILE_CHECKSUM, "a bit of a footer flips", quick=Rule.DATA_FILE_FOOTER)
def _(vault: Vault) -> str:
    return vault.flip(vault.files[0].key, -20)


@damage(Rule.DATA_FILE_SIZE, "two data files change places")
def _(vault: Vault) -> tuple[str, ...]:
    return vault.swap(vault.files[0].key, vault.files[1].key)


@damage(Rule.DATA_FILE_FOOTER, "something else than Parquet is stored, with right checksums")
def _(vault: Vault) -> str:
    data = b"x" * 500
    key = vault.put(vault.files[0].key, data)
    right = {"bytes": len(data), "checksum": xxhash.xxh3_64_intdigest(data), "tail": None}
    return vault.describe(vault.files[0], **right) or key


@damage(Rule.DATA_FILE_UNREADABLE, "a page is stored damaged, with right checksums of the file", quick=False)
def _(vault: Vault) -> str:
    key = vault.flip(vault.files[0].key, 100)
    data = vault.read(key)
    return vault.describe(vault.files[0], checksum=xxhash.xxh3_64_intdigest(data), tail=tail_of(data))


@damage(Rule.DATA_FILE_ROWS, "the manifest says that a file holds one row more")
def _(vault: Vault) -> str:
    return vault.describe(vault.files[1], rows=vault.files[1].rows + 1)


@damage(Rule.DATA_FILE_COLUMNS, "a file lacks the column $residual")
def _(vault: Vault) -> str:
    return vault.rewrite(vault.files[1], lambda table: table.drop_columns(["$residual"]))


@damage(Rule.DATA_FILE_COLUMNS, "a column is of a type that we do not write", quick=False)
def _(vault: Vault) -> str:
    def narrowed(table: pa.Table) -> pa.Table:
        at = table.column_names.index("n")
        return table.set_column(at, "n", table.column("n").cast(pa.int8()))

    return vault.rewrite(vault.files[1], narrowed)


@damage(Rule.DATA_FILE_STATISTICS, "the manifest says that a column's greatest value is smaller", quick=False)
def _(vault: Vault) -> str:
    file = vault.files[0]
    stats = {**file.stats, "n": file.stats["n"]._replace(high=file.stats["n"].high - 1)}
    return vault.describe(file, stats=stats)


@damage(Rule.DATA_FILE_STATISTICS, "the manifest says that a column has no value", quick=False)
def _(vault: Vault) -> str:
    file = vault.files[0]
    return vault.describe(file, stats={path: one for path, one in file.stats.items() if path != "n"})


@damage(Rule.DATA_FILE_UNSORTED, "the rows of a sorted file are turned round", quick=False)
def _(vault: Vault) -> str:
    return vault.rewrite(vault.files[1], lambda table: table.take(list(reversed(range(table.num_rows)))))


@damage(Rule.DATA_FILE_IDS, "the manifest says that a file's least id is greater", quick=False)
def _(vault: Vault) -> str:
    return vault.describe(vault.files[1], id_min="a01")


@damage(Rule.DATA_FILE_IDS, "the rows of a file are of another namespace", quick=False)
def _(vault: Vault) -> str:
    elsewhere = with_column("$id", lambda ids: [f"other/{id_.partition('/')[2]}" for id_ in ids])
    return vault.rewrite(vault.files[1], elsewhere)


@damage(Rule.DATA_FILE_SEQS, "the manifest says that a file's first seq is later", quick=False)
def _(vault: Vault) -> str:
    return vault.describe(vault.files[1], seq_first=vault.files[1].seq_first + 1)


@damage(Rule.DATA_FILE_SEQS, "the manifest lists a file of the future")
def _(vault: Vault) -> str:
    file = vault.files[1]
    last = vault.manifest.next_seq
    moved = with_column("$seq", lambda seqs: [*seqs[:-1], last])
    return vault.rewrite(file, moved, seq_last=last)


@damage(Rule.DATA_FILE_VERSIONS, "a row has version 0", quick=False)
def _(vault: Vault) -> str:
    return vault.rewrite(vault.files[1], with_column("version", lambda versions: [0, *versions[1:]]))


@damage(Rule.SEQ_TWICE, "two rows have one seq", quick=False)
def _(vault: Vault) -> str:
    return vault.rewrite(vault.files[1], with_column("$seq", lambda seqs: [seqs[0], seqs[0], *seqs[2:]]))


@damage(Rule.DATA_FILE_LISTED_TWICE, "the manifest lists a file twice")
def _(vault: Vault) -> str:
    vault.forge_manifest(files=(*vault.manifest.files, vault.manifest.files[1]))
    return vault.files[1].key


@damage(Rule.RESIDUAL_UNREADABLE, "the residual of a row is no JSON", quick=False)
def _(vault: Vault) -> str:
    return vault.rewrite(vault.files[2], with_column("$residual", lambda _: ["{"]))


@damage(Rule.RESIDUAL_UNREADABLE, "the manifest does not say which fields have a residual", quick=False)
def _(vault: Vault) -> str:
    return vault.describe(vault.files[2], residual_paths=frozenset())


@damage(Rule.DELETIONS_UNREADABLE, "a deletion vector names a row past the end")
def _(vault: Vault) -> str:
    file = vault.files[0]
    return vault.forge_dead(file, vault.dead(file) | BitMap([file.rows]))


@damage(Rule.DELETIONS_UNREADABLE, "a deletion vector is no bitmap")
def _(vault: Vault) -> str:
    file = vault.files[0]
    vault.forge_manifest(dead={**vault.manifest.dead, file.key: b"x"})
    return file.key


@damage(Rule.DELETIONS_STRAY, "a deletion vector is of a file that is not listed")
def _(vault: Vault) -> str:
    vault.forge_manifest(dead={**vault.manifest.dead, "data/1-f.parquet": vault.manifest.dead[vault.files[0].key]})
    return "data/1-f.parquet"


# Documents.


def row_of(vault: Vault, file: DataFile, id_: str) -> int:
    return int(id_[1:]) - int(file.id_min[1:])


def appended(id_: str, **values: Any) -> Callable[[pa.Table], pa.Table]:
    """Return what adds a copy of the last row under another id."""

    def apply(table: pa.Table) -> pa.Table:
        row = table.slice(table.num_rows - 1).to_pylist()[0] | {"$id": f"posts/{id_}"} | values
        return pa.concat_tables([table, pa.Table.from_pylist([row], table.schema)])

    return apply


@damage(Rule.ID_TWICE, "a dead row of an updated document is alive again", quick=False)
def _(vault: Vault) -> str:
    file = vault.files[0]
    return vault.forge_dead(file, vault.dead(file) - BitMap([row_of(vault, file, "a00")]))


@damage(Rule.ID_TWICE, "a second file gets a row of the same document", quick=False)
def _(vault: Vault) -> str:
    changed = vault.rewrite(vault.files[1], appended("a10", **{"$seq": 9}), id_max="a10", seq_first=9)
    assert changed == vault.files[1].key
    return changed


@damage(Rule.DOCUMENT_RESURRECTED, "the dead row of a removed document is alive again", quick=False)
def _(vault: Vault) -> str:
    file = vault.files[0]
    return vault.forge_dead(file, vault.dead(file) - BitMap([row_of(vault, file, "a19")]))


@damage(Rule.DOCUMENT_LOST, "the live row of a document is marked dead", quick=False)
def _(vault: Vault) -> str:
    file = vault.files[0]
    vault.forge_dead(file, vault.dead(file) | BitMap([row_of(vault, file, "a10")]))
    return vault.manifest.history.segments[0].key


@damage(Rule.DOCUMENT_LOST, "a live row of a loaded file is marked dead", quick=False)
def _(vault: Vault) -> str:
    return vault.forge_dead(vault.files[3], BitMap([5]))


@damage(Rule.DOCUMENT_STALE, "the old row of a document is alive instead of the new one", quick=False)
def _(vault: Vault) -> str:
    old, new = vault.files[:2]
    vault.forge_dead(new, BitMap([row_of(vault, new, "a00")]))
    return vault.forge_dead(old, vault.dead(old) - BitMap([row_of(vault, old, "a00")]))


@damage(Rule.VERSION_DIFFERS, "a row has another version than its last change gave", quick=False)
def _(vault: Vault) -> str:
    return vault.rewrite(vault.files[1], with_column("version", lambda versions: [versions[0] + 1, *versions[1:]]))


@damage(Rule.VERSION_BROKEN, "an update in the log skips versions", quick=False)
def _(vault: Vault) -> str:
    at = middle(vault)
    events, records = decode_body("", vault.entry(at).body)
    skipping = [Event(one.action, one.id, {**(one.document or {}), "version": 7}) for one in events]
    return vault.forge(at, body=encode_body(skipping, records))


@damage(Rule.EVENT_MISSING, "a row claims a later change than the log knows", quick=False)
def _(vault: Vault) -> str:
    later = vault.manifest.history.segments[2].first_seq
    return vault.rewrite(vault.files[1], with_column("$seq", lambda seqs: [*seqs[:-1], later]), seq_last=later)


@damage(Rule.EVENT_MISSING, "a file gets a row of a document that nobody wrote", quick=False)
def _(vault: Vault) -> str:
    return vault.rewrite(vault.files[1], appended("zz", **{"$seq": 9}), id_max="zz", seq_first=9)


# Beside the objects.


@damage(Rule.OBJECT_UNKNOWN, "an object of an unknown name lies in data/")
def _(vault: Vault) -> str:
    return vault.put("data/readme", b"hello")


@damage(Rule.NAME_FOREIGN, "something whose name is no key lies in data/")
def _(vault: Vault) -> str:
    return vault.put("data/Read Me!", b"hello")


@damage(Rule.OBJECT_LEFT, "a data file that nobody refers to")
def _(vault: Vault) -> str:
    return vault.put("data/1-abcd.parquet", b"hello")
