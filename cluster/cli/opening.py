"""Opening a database for a sub-command: what is there is looked up first; Ray is joined or started without a word."""

import asyncio
import contextlib
import difflib
import io
import os
from collections.abc import Iterator, Sequence
from typing import Final

import parquedb
from parquedb.cluster.loads.direct_storage import names_in_storage
from parquedb.cluster.runtime.naming import resolve
from parquedb.errors import CollectionNotFoundError, ConfigurationError, RpcUnavailableError
from parquedb.observability.hooks import HookRegistry
from parquedb.settings import Settings
from parquedb.settings.environment import load_settings

_NAMED_MAX: Final = 10
_RUNNING: Final = "auto"
"""Ray's word for "one that runs on this machine"."""


def place_of(url: str | None) -> Settings:
    """Return the settings for a URL, or for that of the environment when it is None.

    Raises:
        ConfigurationError: there is no such place for a database.
    """
    settings = load_settings(url)
    return settings if settings.is_gateway else resolve(settings)


def storage_of(url: str | None, name: str) -> Settings:
    """Return the settings for a URL whose storage a sub-command reads by itself.

    Raises:
        ConfigurationError: it is that of a gateway, or there is no such place for a database.
    """
    settings = load_settings(url)
    if settings.is_gateway:
        message = f"{name} needs the storage itself, which is behind a gateway here: give the URL of the storage"
        raise ConfigurationError(message, setting="url")
    return resolve(settings)


def stored_names(settings: Settings) -> list[str]:
    """List the namespaces of which something is stored; makes nothing, and needs no Ray.

    Raises:
        ParqueDBError: there is no such place, or storage refused or did not answer.
    """
    return asyncio.run(names_in_storage(settings, HookRegistry(), read_only=True))


def check_names(names: Sequence[str], settings: Settings) -> None:
    """Accept namespaces that are stored. What is behind a gateway, or in the memory of owners, is theirs to say.

    Raises:
        CollectionNotFoundError: nothing is stored under one of the names; says which there are.
    """
    if settings.is_gateway or settings.url.startswith("memory:"):
        return
    there = stored_names(settings)
    for name in names:
        if name not in there:
            near = difflib.get_close_matches(name, there, 1)
            known = f"did you mean {near[0]!r}?" if near else _listed(there)
            raise CollectionNotFoundError(f"no namespace {name!r} is stored in {settings.url}: {known}", namespace=name)


@contextlib.contextmanager
def opened(url: str | None) -> Iterator[parquedb.Database]:
    """Open a database whose owners are to work: joins a Ray that runs, or starts one for as long as this lasts.

    Raises:
        ParqueDBError: it cannot be had.
    """
    with quietly():
        database = parquedb.connect(url)
    with database:
        yield database


@contextlib.contextmanager
def watched(url: str | None) -> Iterator[parquedb.Database]:
    """Open a database to ask how its owners are; starts neither Ray nor owner.

    Raises:
        RpcUnavailableError: no Ray runs here, and the settings name none.
        ParqueDBError: the database cannot be had.
    """
    settings = place_of(url)
    if settings.is_gateway:
        with parquedb.connect(url) as database:
            yield database
        return
    check_names((), settings)
    address = settings.ray_address or _RUNNING
    try:
        with quietly():
            database = parquedb.connect(url, ray_address=address)
    except RpcUnavailableError as error:
        if settings.ray_address is not None or not isinstance(error.__cause__, ConnectionError):
            raise
        message = "no Ray runs on this machine, so no owner can be asked; PARQUEDB_RAY_ADDRESS names one elsewhere"
        raise RpcUnavailableError(message) from error
    with database:
        yield database


def _listed(names: Sequence[str]) -> str:
    if not names:
        return "nothing is"
    more = f", and {len(names) - _NAMED_MAX:,} more" if len(names) > _NAMED_MAX else ""
    return f"there are {', '.join(map(repr, names[:_NAMED_MAX]))}{more}"


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Keep what Ray says when it starts or is joined off both streams, which belong to the answer and its errors."""
    # Workers inherit the environment; without this each prints a warning about accelerators.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield
