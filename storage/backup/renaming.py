"""A point of a namespace under another name, for `restore --as`: what holds the name is made anew, the rest is copied.

Documents carry the name of their namespace in `$id`, so data files, log entries, segments and remembered answers
change; with them their checksums, and with those the manifest that names them, and the entries that name the manifest.
Keys, positions, commit ids, seqs and versions stay. What is made lies in an archive of its own, from which it is
restored like anything else. References that documents hold to other documents (`posts/...`) are data, and stay.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import msgspec
import pyarrow as pa

from parquedb.documents.codec import decode, encode
from parquedb.errors import CorruptionError
from parquedb.storage.backup.archive import Archive
from parquedb.storage.backup.catalogue import NamespacePoint, Reference
from parquedb.storage.backup.renamed_file import describe, rename_file
from parquedb.storage.backup.transfer import Transfers, no_temporary_room, temporary_folder
from parquedb.storage.bulk.load_entry import decode_bulk, encode_bulk
from parquedb.storage.files.data_file import DataFile
from parquedb.storage.files.object_cache import Run
from parquedb.storage.files.partial_reads import Tail
from parquedb.storage.history.segment import build_segment, decode_segment
from parquedb.storage.log.entry import BackPointer, Kind, LogEntry, decode_entry, encode_entry, position_of
from parquedb.storage.log.events import Created, Event, RequestRecord, Updated, decode_packed, encode_body
from parquedb.storage.log.manifest import (
    HistorySegment,
    Manifest,
    PastFile,
    Segment,
    checksum,
    decode_manifest,
    encode_manifest,
)
from parquedb.storage.verification.verifier import in_thread

S = TypeVar("S", bound=Segment)

_ID = "$id"


@dataclass(slots=True)
class Renaming:
    """Makes one namespace of a point anew under another name.

    Args:
        archive: Where the point is.
        point: What it holds of the namespace.
        name: The new name.
        staged: Where what is made goes.
        transfers: Reads and stores.
        run_work: Runs CPU work off the event loop.
    """

    archive: Archive
    point: NamespacePoint
    name: str
    staged: Archive
    transfers: Transfers
    run_work: Run = in_thread
    _files: dict[str, tuple[int, int, Tail]] = field(default_factory=dict)
    _made: list[Reference] = field(default_factory=list)

    async def run(self) -> NamespacePoint:
        """Make everything; return what it is.

        Raises:
            CorruptionError: an object is damaged, or not of this namespace; names it.
            ParqueDBError: a store refused, or did not answer.
        """
        references = {one.key: one for one in self.point.objects}
        logs = {position_of(key): one for key, one in references.items() if key.startswith("log/")}
        tail = decode_entry("", await self._read(logs[max(logs)]))
        for key, one in references.items():
            if key.startswith("data/"):
                await self._file(one)
        base = tail.header.base
        if base is not None:
            base = await self._manifest(base, references)
        for one in logs.values():
            await self._put(one.key, await self._entry_bytes(one, base))
        return replace(self.point, namespace=self.name, objects=tuple(sorted(self._made)))

    async def _manifest(self, base: BackPointer, references: Mapping[str, Reference]) -> BackPointer:
        """Make the manifest anew, with all that it names; return what names it."""
        manifest = decode_manifest(base.manifest, await self._read(references[base.manifest]))
        tails = [await self._segment(one, references[one.key]) for one in manifest.tails]
        history = [await self._segment(one, references[one.key]) for one in manifest.history.segments]
        ids = [await self._request_ids(one, references[one.key]) for one in manifest.request_ids]
        past = tuple(PastFile(self._wire(one.file), one.until) for one in manifest.history.files)
        made: Manifest = replace(
            manifest,
            namespace=self.name,
            files=tuple(map(self._wire, manifest.files)),
            tails=tuple(tails),
            request_ids=tuple(ids),
            sessions=self._value(manifest.sessions),
            history=replace(manifest.history, segments=tuple(history), files=past),
        )
        data = await self.run_work(lambda: encode_manifest(made))
        await self._put(base.manifest, data)
        return msgspec.structs.replace(base, checksum=checksum(data))

    async def _segment(self, segment: S, reference: Reference) -> S:
        data = await self._read(reference)

        def make() -> tuple[Any, bytes]:
            entries = [self._entry(one) for one in decode_segment(segment.key, segment, data)]
            stored = [(one, encode_entry(one)) for one in entries]
            if isinstance(segment, HistorySegment):
                made, raw = build_segment(segment.key, stored)
                return replace(made, begins=segment.begins), raw
            raw = b"".join(part for _, one in stored for part in (len(one).to_bytes(4, "little"), one))
            return replace(segment, checksum=checksum(raw)), raw

        made, raw = await self.run_work(make)
        await self._put(segment.key, raw)
        return made  # type: ignore[no-any-return]  # Of the kind that it was.

    async def _request_ids(self, segment: Segment, reference: Reference) -> Segment:
        rows = decode(await self._read(reference))
        raw = encode([[digest, kind, seq, self._value(value), at] for digest, kind, seq, value, at in rows])
        await self._put(segment.key, raw)
        return replace(segment, checksum=checksum(raw))

    async def _entry_bytes(self, reference: Reference, base: BackPointer | None) -> bytes:
        entry = self._entry(decode_entry(reference.key, await self._read(reference)))
        named = entry.header.base
        if base is not None and named is not None and named.manifest == base.manifest:
            entry = LogEntry(msgspec.structs.replace(entry.header, base=base), entry.body)
        return encode_entry(entry)

    def _entry(self, entry: LogEntry) -> LogEntry:
        if entry.header.kind == Kind.WRITE:
            events, records = decode_packed("", entry.body)
            return LogEntry(entry.header, encode_body(list(map(self._event, events)), list(map(self._record, records))))
        if entry.header.kind == Kind.BULK:
            bulk = decode_bulk("", entry.body)
            files, answers = tuple(map(self._described, bulk.files)), tuple(map(self._record, bulk.records))
            return LogEntry(entry.header, encode_bulk(replace(bulk, files=files, records=answers)))
        return entry

    def _event(self, event: Event | Created | Updated) -> Event | Created | Updated:
        if isinstance(event, Created):
            return replace(event, prefix=f"{self.name}/")
        if isinstance(event, Updated):
            documents = [self._document(one) for one in event.documents]
            return replace(event, documents=documents, encoded=list(map(encode, documents)))
        document = event.document
        return replace(event, document=self._document(document) if document and _ID in document else document)

    def _record(self, record: RequestRecord) -> RequestRecord:
        return replace(record, value=self._value(record.value))

    def _value(self, value: Any) -> Any:
        """Return an answer, or many, with every document in it renamed."""
        if isinstance(value, dict):
            if isinstance(value.get(_ID), str):
                return self._document(value)
            return {name: self._value(item) for name, item in value.items()}
        return [self._value(item) for item in value] if isinstance(value, list) else value

    def _document(self, document: dict[str, Any]) -> dict[str, Any]:
        id_: str = document[_ID]
        return {**document, _ID: f"{self.name}/{id_.removeprefix(self.point.namespace + '/')}"}

    async def _file(self, reference: Reference) -> None:
        source = self.archive.key_of(self.point.namespace, reference)
        with temporary_folder() as folder:
            target = folder / "renamed"
            async with self.transfers.verified(self.archive.storage, source, reference.checksum) as found:
                try:
                    names = (f"{self.point.namespace}/", f"{self.name}/")
                    await self.run_work(lambda: rename_file(found.content, target, *names))
                except OSError as error:
                    if error.errno is not None:
                        raise no_temporary_room(error) from error  # The system's, which has written a file.
                    raise CorruptionError(key=source, reason=f"no data file: {error}", cause=error) from error
                except (ValueError, pa.ArrowException) as error:
                    raise CorruptionError(key=source, reason=f"no data file: {error}", cause=error) from error
            size, digest, footer = await self.run_work(lambda: describe(target))
            self._files[reference.key] = size, digest, footer
            made = Reference(reference.key, size, digest)
            await self.transfers.create(self.staged.storage, self.staged.key_of(self.name, made), target, size)
            self._made.append(made)

    def _described(self, file: DataFile) -> DataFile:
        if file.key not in self._files:
            return file  # Forgotten, but for the entry that once named it.
        size, digest, footer = self._files[file.key]
        return replace(file, bytes=size, checksum=digest, tail=None if file.tail is None else footer)

    def _wire(self, wire: Mapping[str, Any]) -> dict[str, Any]:
        return self._described(DataFile.from_wire(wire)).to_wire()

    async def _read(self, reference: Reference) -> bytes:
        key = self.archive.key_of(self.point.namespace, reference)
        async with self.transfers.verified(self.archive.storage, key, reference.checksum) as found:
            content = found.content
            return content if isinstance(content, bytes) else await self.run_work(content.read_bytes)

    async def _put(self, key: str, data: bytes) -> None:
        made = Reference(key, len(data), checksum(data))
        await self.transfers.create(self.staged.storage, self.staged.key_of(self.name, made), data)
        self._made.append(made)
