"""Durable writing in a directory: temporary file in `~tmp/`, write, fsync, link to its name, fsync the folder.

A reader can therefore never see a part of an object, and of many racing creators the file system lets one link. A
failure before the link is a definite no; at the link or later the outcome is unknown.
"""

import contextlib
import errno
import fcntl
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import xxhash

from parquedb.errors import (
    AlreadyExistsError,
    ConfigurationError,
    ETagMismatchError,
    OutcomeUnknownError,
    QuotaExceededError,
    StorageFailedError,
    StorageWriteError,
)
from parquedb.storage.backend import ObjectInfo
from parquedb.storage.backends.directory import LOCK_FILE, Directory, System, hash_of, parts_of

TEMP_AGE_MAX_S = 3600.0
SYNCED_FOLDERS_MAX = 10_000
_PIECE_BYTES = 1 << 20

_OPEN_TEMP = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EXDEV}


class Disk(Directory):
    """A directory that is written to.

    Invariants:
        I3. A folder that failed to sync takes no more creates in this process: a repeated fsync may lie.
    """

    def __init__(self, root: Path, system: System, *, read_only: bool = False) -> None:
        """Open the directory as `Directory` does, and clear it of what killed writers left unless it is only read.

        One that is only read stays as it is and takes no writes.
        """
        super().__init__(root, system, read_only=read_only)
        self._read_only = read_only
        self._synced: set[tuple[str, ...]] = set()
        self._broken: set[tuple[str, ...]] = set()
        if not read_only:
            self._remove_old_temps()

    def _remove_old_temps(self) -> None:
        # Left by processes that were killed. An hour is far above any timeout of a write.
        with contextlib.suppress(OSError), os.scandir(self._temp_fd) as entries:
            for entry in entries:
                if self._system.now_s() - entry.stat(follow_symlinks=False).st_ctime > TEMP_AGE_MAX_S:
                    os.unlink(entry.name, dir_fd=self._temp_fd)

    def create(self, key: str, data: bytes | Path) -> ObjectInfo:
        """Link a new file to the key's name, durably; `data` is its content, or a file that has it."""
        *folder, name = parts_of(key)
        with contextlib.ExitStack() as stack:
            with self._not_applied(key):
                descriptor = stack.enter_context(self._open_folder_for_writing(tuple(folder)))
                temp, status, etag = self._write_temp(data)
                stack.callback(self._remove_temp, temp)
            taken = False
            try:
                self._system.link(temp, name, src_dir_fd=self._temp_fd, dst_dir_fd=descriptor, follow_symlinks=False)
            except FileExistsError:
                taken = True
            except OSError as error:
                if error.errno in _NO_LINKS:
                    message = f"{str(self._given_root)!r} lies on a file system without hard links"
                    raise ConfigurationError(message, setting="url", cause=error) from error
                raise _unknown(key, "linked", error) from error
            # Also when the name was taken: our own earlier attempt may have linked it and failed right here.
            self._sync_folder(tuple(folder), descriptor, key)
            if taken:
                raise AlreadyExistsError(key=key)
        return ObjectInfo(key, status.st_size, etag, status.st_ctime)

    def write(self, key: str, data: bytes, if_match: str | None) -> ObjectInfo:
        """Rename a new file over the key's name, durably."""
        *folder, name = parts_of(key)
        with contextlib.ExitStack() as stack:
            with self._not_applied(key):
                descriptor = stack.enter_context(self._open_folder_for_writing(tuple(folder)))
                temp, status, etag = self._write_temp(data)
                stack.callback(self._remove_temp, temp)
                # Plain writes and deletes share the lock: they may pass each other, never a compare and its swap.
                stack.enter_context(self._locked(fcntl.LOCK_SH if if_match is None else fcntl.LOCK_EX))
                if if_match is not None:
                    self._compare(key, if_match)
            try:
                self._system.replace(temp, name, src_dir_fd=self._temp_fd, dst_dir_fd=descriptor)
            except OSError as error:
                raise _unknown(key, "renamed", error) from error
            self._sync_folder(tuple(folder), descriptor, key)
        return ObjectInfo(key, status.st_size, etag, status.st_ctime)

    def delete(self, key: str) -> None:
        """Unlink the key's name. Not synced: nothing refers to a deleted object, so its return does no harm."""
        *folder, name = parts_of(key)
        with self._not_applied(key):
            self._check_root()
            absent = contextlib.suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError)
            with absent, self._open_folder(tuple(folder)) as descriptor, self._locked(fcntl.LOCK_SH):
                self._system.unlink(name, dir_fd=descriptor)

    def _compare(self, key: str, expected: str) -> None:
        try:
            with self._open_file(key) as descriptor:
                actual: str | None = hash_of(descriptor)
        except FileNotFoundError:
            actual = None
        if actual != expected:
            raise ETagMismatchError(key=key, expected=expected, actual=actual)

    def _write_temp(self, data: bytes | Path) -> tuple[str, os.stat_result, str]:
        temp = f"{os.getpid()}-{uuid.uuid4().hex}"
        descriptor = self._system.open(temp, _OPEN_TEMP, 0o644, dir_fd=self._temp_fd)
        try:
            digest = xxhash.xxh3_128()
            for piece in _pieces(data):
                self._system.write(descriptor, piece)
                digest.update(piece)
            self._system.sync(descriptor)
            return temp, os.fstat(descriptor), digest.hexdigest()
        except BaseException:
            self._remove_temp(temp)
            raise
        finally:
            os.close(descriptor)

    def _remove_temp(self, temp: str) -> None:
        # Also after a rename took it away. What stays is removed by age; it must not spoil a good outcome.
        with contextlib.suppress(OSError):
            self._system.unlink(temp, dir_fd=self._temp_fd)

    def _sync_folder(self, folder: tuple[str, ...], descriptor: int, key: str) -> None:
        try:
            self._system.sync(descriptor)
        except OSError as error:
            self._broken.add(folder)
            raise _unknown(key, "synced", error) from error

    @contextlib.contextmanager
    def _open_folder_for_writing(self, folder: tuple[str, ...]) -> Iterator[int]:
        """Open a folder, made if need be, after making sure that the way to it is on the disk."""
        self._check_root()
        if folder in self._broken:
            message = f"{'/'.join(folder)!r} takes no more: an earlier fsync of this folder failed; reopen the database"
            raise StorageFailedError(message)
        if folder not in self._synced:
            for depth in range(len(folder)):
                with self._open_folder(folder[:depth]) as parent:
                    with contextlib.suppress(FileExistsError):
                        self._system.mkdir(folder[depth], dir_fd=parent)
                    # Also when another process made it: that one may not have come to its own fsync.
                    self._system.sync(parent)
            if len(self._synced) >= SYNCED_FOLDERS_MAX:
                self._synced.clear()
            self._synced.add(folder)
        try:
            opened = contextlib.ExitStack()
            descriptor = opened.enter_context(self._open_folder(folder))
        except FileNotFoundError:
            # Removed by hand: the next create makes it again, this one says so.
            self._synced.discard(folder)
            raise
        with opened:
            yield descriptor

    @contextlib.contextmanager
    def _locked(self, kind: int) -> Iterator[None]:
        # A fresh descriptor per operation: flock belongs to it, not to the process.
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(LOCK_FILE, flags, 0o644, dir_fd=self._root_fd)
        try:
            fcntl.flock(descriptor, kind)
            yield
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def _not_applied(self, key: str) -> Iterator[None]:
        """Everything that fails in here has certainly not stored anything."""
        if self._read_only:
            raise StorageWriteError(f"cannot write {key!r}: the database was opened for reading only", key=key)
        try:
            yield
        except OSError as error:
            if error.errno in _FULL:
                message = f"no room for {key!r}: {error.strerror}"
                raise QuotaExceededError(message, key=key, cause=error) from error
            raise StorageWriteError(self._worded("write", key, error), key=key, cause=error) from error


def _pieces(data: bytes | Path) -> Iterator[bytes]:
    if isinstance(data, bytes | bytearray | memoryview):
        yield data
        return
    with data.open("rb") as file:
        while piece := file.read(_PIECE_BYTES):
            yield piece


def _unknown(key: str, step: str, error: OSError) -> OutcomeUnknownError:
    message = f"{key!r} may or may not be stored: it could not be {step}: {error.strerror}"
    return OutcomeUnknownError(message, key=key, cause=error)
