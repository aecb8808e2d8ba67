"""Which actor serves a namespace: a name that every process derives alike from the database and the namespace."""

import hashlib
import os
from pathlib import Path
from urllib.parse import unquote, urlsplit

from parquedb.errors import ConfigurationError
from parquedb.settings import Settings
from parquedb.storage.keys import decode_segment, encode_segment

_PREFIX = "parquedb"
_DIGEST_CHARS = 16


def canonical_url(url: str) -> str:
    """Return one spelling for every way to write the same database: absolute paths, no trailing slashes.

    A relative path is resolved here, for an actor has another working directory.

    Raises:
        ConfigurationError: the scheme is none of `file`, `s3`, `memory`, or a part is missing.
    """
    scheme, colon, rest = url.partition("://")
    if not colon:
        return str(Path(os.path.realpath(Path(url).expanduser())))
    scheme = scheme.lower()
    if scheme == "file":
        parts = urlsplit(url)
        if parts.netloc not in {"", "localhost"}:
            raise ConfigurationError(f"url {url!r}: a file URL has three slashes: file:///path", setting="url")
        return str(Path(os.path.realpath(unquote(parts.path))))
    if scheme in {"s3", "memory"}:
        bucket, _, prefix = rest.partition("/")
        if scheme == "s3" and not bucket:
            raise ConfigurationError(f"url {url!r}: expected s3://bucket/prefix", setting="url")
        return f"{scheme}://" + "/".join([bucket, *filter(None, prefix.split("/"))]).rstrip("/")
    raise ConfigurationError(
        f"url {url!r}: expected a path, file:///path, s3://bucket/prefix or memory://name", setting="url"
    )


def resolve(settings: Settings) -> Settings:
    """Return settings that mean the same in every process: an actor has another working directory.

    Raises:
        ConfigurationError: a URL is none, or the worker logs and the database lie in each other.
    """
    storage = settings.storage
    if storage.read_fallback_url is not None:
        storage = storage.model_copy(update={"read_fallback_url": canonical_url(storage.read_fallback_url)})
    url, logs = canonical_url(settings.url), settings.worker_logs
    if logs is not None:
        from parquedb.storage.worker_logs import check_worker_logs  # noqa: PLC0415 - few processes store their logs

        logs = canonical_url(logs)
        check_worker_logs(logs, url)
    return settings.model_copy(update={"url": url, "storage": storage, "worker_logs": logs})


def database_name(settings: Settings) -> str:
    """Return the part of an actor's name that stands for the database."""
    text = f"{canonical_url(settings.url)}\n{server_of(settings)}"
    return f"{_PREFIX}:{hashlib.sha256(text.encode()).hexdigest()[:_DIGEST_CHARS]}:"


def server_of(settings: Settings) -> str:
    """Return the address of the S3 server, alike however it is spelled; "" for AWS."""
    return (settings.endpoint_url or "").rstrip("/").lower()


def actor_name(settings: Settings, namespace: str) -> str:
    """Return the name of the actor that serves `namespace`, unique within the Ray namespace."""
    return database_name(settings) + encode_segment(namespace)


def is_actor_name(name: str) -> bool:
    """Whether an actor of this name serves a namespace, of whatever database."""
    return name.startswith(f"{_PREFIX}:")


def namespace_of(settings: Settings, name: str) -> str | None:
    """Return the namespace an actor of this database serves; None for any other actor's name."""
    prefix = database_name(settings)
    return decode_segment(name.removeprefix(prefix)) if name.startswith(prefix) else None
