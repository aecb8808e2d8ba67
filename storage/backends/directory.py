"""An opened directory: its identity, the way to its files, reading and listing them. Blocking; no links followed."""

import contextlib
import errno
import fcntl
import os
import stat as stat_module
import time
import weakref
from collections.abc import Iterator, MutableSequence, Sequence
from itertools import groupby
from operator import attrgetter
from pathlib import Path

import xxhash

from parquedb.errors import ConfigurationError, ObjectNotFoundError, PathTraversalError, StorageReadError
from parquedb.storage.backend import ListPage, ObjectInfo, Range
from parquedb.storage.backends.strays import STRAYS_MAX, Stray, StrayKind
from parquedb.storage.keys import PROBE_FOLDER, is_key, is_segment

TEMP_FOLDER = "~tmp"
LOCK_FILE = "~lock"
OWN_NAMES = frozenset({TEMP_FOLDER, LOCK_FILE, PROBE_FOLDER})
"""What we put beside the namespaces."""

_READ_BYTES_MAX = 1 << 30
"""Linux reads less than 2 GiB at a time."""

_OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Without O_NONBLOCK, opening a named pipe that somebody left in the directory would wait for ever.
_OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class System:
    """The calls of the operating system that can fail half-way; tests put their own in between."""

    open = staticmethod(os.open)
    link = staticmethod(os.link)
    replace = staticmethod(os.replace)
    unlink = staticmethod(os.unlink)
    mkdir = staticmethod(os.mkdir)
    now_s = staticmethod(time.time)

    def write(self, descriptor: int, data: bytes) -> None:
        """Write all of `data`."""
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]

    def sync(self, descriptor: int) -> None:
        """Bring a file or folder to stable storage."""
        if hasattr(fcntl, "F_FULLFSYNC"):  # pragma: no cover - macOS, whose fsync stops at the drive's cache
            with contextlib.suppress(OSError):
                fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
                return
        os.fsync(descriptor)


class Directory:
    """One directory as an object store, as far as reading goes.

    Invariants:
        I1. Nothing is opened through a symbolic link below the root.
        I2. Every call works on the directory that was opened: once the root is gone, renamed or another one stands in
            its place (an unplugged disk looks like an empty mount point), calls fail. It is never made anew.
    """

    def __init__(self, root: Path, system: System, *, read_only: bool = False) -> None:
        """Open the directory, and make it if it does not exist, unless it is only read.

        Raises:
            ConfigurationError: it cannot be made, opened or written to.
        """
        self._system = system
        self._given_root = root
        try:
            if not read_only:
                self._make_root(root)
            with contextlib.ExitStack() as opened:
                self._root_fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                opened.callback(os.close, self._root_fd)
                self._identity = _identity(os.fstat(self._root_fd))
                if not read_only:
                    with contextlib.suppress(FileExistsError):
                        os.mkdir(TEMP_FOLDER, dir_fd=self._root_fd)
                        system.sync(self._root_fd)
                    self._temp_fd = os.open(TEMP_FOLDER, _OPEN_FOLDER, dir_fd=self._root_fd)
                    opened.callback(os.close, self._temp_fd)
                # Both stay open for the life of this object: an inode in use is never given to another file, so
                # comparing identities is exact.
                self.close = weakref.finalize(self, opened.pop_all().close)
        except OSError as error:
            message = f"the directory {str(root)!r} cannot be used: {error.strerror}"
            raise ConfigurationError(message, setting="url", cause=error) from error

    def _make_root(self, root: Path) -> None:
        missing = [folder for folder in (root, *root.parents) if not folder.exists()]
        for folder in reversed(missing):
            with contextlib.suppress(FileExistsError):
                folder.mkdir()
            parent_fd = os.open(folder.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                self._system.sync(parent_fd)
            finally:
                os.close(parent_fd)

    def read(self, key: str) -> bytes:
        """Return the whole object."""
        with (
            self._reading(key),
            self._open_file(key) as descriptor,
            os.fdopen(descriptor, "rb", buffering=0, closefd=False) as file,
        ):
            return file.readall()

    def read_ranges(self, ranges: Sequence[Range]) -> list[bytes]:
        """Return the bytes of each, cut at the end of the file."""
        found: list[bytes] = []
        for folder, files in groupby(ranges, lambda part: part.key.rpartition("/")[0]):
            mine = list(files)
            # Once for all its files: that is half of the system calls.
            with self._reading(mine[0].key), self._open_folder(parts_of(folder)) as parent:
                for key, parts in groupby(mine, attrgetter("key")):
                    with self._reading(key), self._open_in(parent, key) as descriptor:
                        found += [_read_range(descriptor, part.start, part.length) for part in parts]
        return found

    def stat(self, key: str) -> ObjectInfo:
        """Describe an object; its etag is a hash of the content, so the whole file is read."""
        with self._reading(key), self._open_file(key) as descriptor:
            status = os.fstat(descriptor)
            return ObjectInfo(key, status.st_size, hash_of(descriptor), status.st_ctime)

    def exists(self, key: str) -> bool:
        """Whether the object is there."""
        try:
            with self._reading(key), self._open_file(key):
                return True
        except ObjectNotFoundError:
            return False

    def list(self, prefix: str, after: str | None, limit: int) -> ListPage:
        """Return one page of keys in order; the etags are None, as knowing them would mean reading every file."""
        server_s = self._system.now_s()
        folder, _, _ = prefix.rpartition("/")
        found: list[ObjectInfo] = []
        more = False
        with self._reading(prefix):
            for key, status in self._walk(folder, prefix, after or ""):
                if len(found) == limit:
                    more = True
                    break
                found.append(ObjectInfo(key, status.st_size, None, status.st_ctime))
        return ListPage(tuple(found), more, server_s)

    def list_folders(self, prefix: str) -> tuple[str, ...]:
        """Return the names of the folders directly below `prefix` that hold an object at any depth."""
        names: list[str] = []
        with self._reading(prefix):
            absent = contextlib.suppress(FileNotFoundError, NotADirectoryError)
            folder = self._open_folder(parts_of(prefix.removesuffix("/")))
            with absent, folder as descriptor, os.scandir(descriptor) as entries:
                names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
            # One object is enough to know; an emptied folder stays behind as a directory.
            full = (
                name for name in names if is_segment(name) and any(self._walk(prefix + name, f"{prefix}{name}/", ""))
            )
            return tuple(sorted(full))

    def strays(self, prefix: str) -> Sequence[Stray]:
        """Return what lies below a namespace's prefix and is no object; of the root, what lies in it beside folders."""
        found: list[Stray] = []
        with self._reading(prefix):
            if prefix:
                self._add_foreign(prefix.removesuffix("/"), found)
            else:
                self._add_foreign("", found)
                self._add_temporary(found)
        return found

    def _add_foreign(self, folder: str, found: MutableSequence[Stray]) -> None:
        absent = contextlib.suppress(FileNotFoundError, NotADirectoryError)
        with absent, self._open_folder(parts_of(folder)) as descriptor, os.scandir(descriptor) as entries:
            for entry in entries:
                if len(found) >= STRAYS_MAX:
                    return
                name = f"{folder}/{entry.name}" if folder else entry.name
                is_folder = entry.is_dir(follow_symlinks=False)
                named = is_segment(entry.name) or (not folder and entry.name in OWN_NAMES)
                if not named or not (is_folder or entry.is_file(follow_symlinks=False)):
                    with contextlib.suppress(FileNotFoundError):
                        status = entry.stat(follow_symlinks=False)
                        found.append(Stray(StrayKind.FOREIGN, name, status.st_size, status.st_ctime))
                elif is_folder and folder:
                    self._add_foreign(name, found)

    def _add_temporary(self, found: MutableSequence[Stray]) -> None:
        absent = contextlib.suppress(FileNotFoundError, NotADirectoryError)
        with absent, self._open_folder((TEMP_FOLDER,)) as descriptor, os.scandir(descriptor) as entries:
            for entry in entries:
                if len(found) >= STRAYS_MAX:
                    return
                with contextlib.suppress(FileNotFoundError):  # The write has ended.
                    status = entry.stat(follow_symlinks=False)
                    name = f"{TEMP_FOLDER}/{entry.name}"
                    found.append(Stray(StrayKind.TEMPORARY, name, status.st_size, status.st_ctime))

    def _walk(self, folder: str, prefix: str, after: str) -> Iterator[tuple[str, os.stat_result]]:
        """Yield the objects below `folder` in key order, as far as they match."""
        try:
            with self._open_folder(parts_of(folder)) as descriptor:
                # What a killed process linked may not be on the disk yet; whoever trusts this listing must not
                # see it vanish at a power cut.
                self._system.sync(descriptor)
                base = folder + "/" if folder else ""
                for name, is_folder in _entries(descriptor, base, prefix, after):
                    if is_folder:
                        yield from self._walk(base + name[:-1], prefix, after)
                        continue
                    with contextlib.suppress(FileNotFoundError):  # Deleted since.
                        yield base + name, os.stat(name, dir_fd=descriptor, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            self._check_root()

    def _check_root(self) -> None:
        # ESTALE, never ENOENT: in a vanished root everything would seem absent, and absence is taken as proof.
        try:
            identity = _identity(os.stat(self._given_root))
        except OSError as error:
            raise OSError(errno.ESTALE, error.strerror) from error
        if identity != self._identity:
            raise OSError(errno.ESTALE, "another directory stands in its place")

    @contextlib.contextmanager
    def _open_folder(self, folder: tuple[str, ...]) -> Iterator[int]:
        descriptor = os.open(".", _OPEN_FOLDER, dir_fd=self._root_fd)
        try:
            for name in folder:
                try:
                    below = os.open(name, _OPEN_FOLDER, dir_fd=descriptor)
                except OSError as error:
                    _refuse_links(name, descriptor, error)
                    raise
                os.close(descriptor)
                descriptor = below
            yield descriptor
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def _open_file(self, key: str) -> Iterator[int]:
        *folder, _ = parts_of(key)
        with self._open_folder(tuple(folder)) as parent, self._open_in(parent, key) as descriptor:
            yield descriptor

    @contextlib.contextmanager
    def _open_in(self, parent: int, key: str) -> Iterator[int]:
        name = key.rpartition("/")[2]
        try:
            descriptor = os.open(name, _OPEN_FILE, dir_fd=parent)
        except OSError as error:
            _refuse_links(name, parent, error)
            raise
        try:
            if not stat_module.S_ISREG(os.fstat(descriptor).st_mode):
                raise FileNotFoundError(errno.ENOENT, "not a file", key)
            yield descriptor
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def _reading(self, key: str) -> Iterator[None]:
        try:
            self._check_root()
            yield
        except (FileNotFoundError, NotADirectoryError):
            raise ObjectNotFoundError(key=key) from None
        except OSError as error:
            raise StorageReadError(self._worded("read", key, error), key=key, cause=error) from error

    def _worded(self, verb: str, key: str, error: OSError) -> str:
        if error.errno == errno.ESTALE:
            return f"the database directory {str(self._given_root)!r} is gone: {error.strerror}"
        return f"cannot {verb} {key!r}: {error.strerror}"


def _read_range(descriptor: int, start: int, length: int) -> bytes:
    parts = []
    while length and (part := os.pread(descriptor, min(length, _READ_BYTES_MAX), start)):
        parts.append(part)
        start += len(part)
        length -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def parts_of(key: str) -> tuple[str, ...]:
    """Return the segments of a key or folder; none for the root."""
    return tuple(key.split("/")) if key else ()


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def hash_of(descriptor: int) -> str:
    """Return the etag of what can be read from here on."""
    digest = xxhash.xxh3_128()
    while part := os.read(descriptor, 1 << 20):
        digest.update(part)
    return digest.hexdigest()


def _entries(descriptor: int, base: str, prefix: str, after: str) -> list[tuple[str, bool]]:
    """Return (name, is folder) of what may hold matching keys, in key order; folders carry their slash."""
    names = []
    with os.scandir(descriptor) as entries:
        for entry in entries:
            is_folder = entry.is_dir(follow_symlinks=False)
            key = base + entry.name + ("/" if is_folder else "")
            inside = prefix.startswith(key) if is_folder else False
            if not (key.startswith(prefix) or inside) or not is_key(key.removesuffix("/") + "/0" * is_folder):
                continue
            # A folder sorts before everything in it, so it may still hold what comes after.
            wanted = key > after or (is_folder and after.startswith(key))
            if wanted and (is_folder or entry.is_file(follow_symlinks=False)):
                names.append((key[len(base) :], is_folder))
    names.sort()
    return names


def _refuse_links(name: str, parent: int, error: OSError) -> None:
    if error.errno not in {errno.ELOOP, errno.ENOTDIR}:
        return
    with contextlib.suppress(FileNotFoundError):
        if stat_module.S_ISLNK(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
            message = f"{name!r} in the database directory is a symbolic link; it is not followed"
            raise PathTraversalError(message, path=name) from None
