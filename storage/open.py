"""From a database URL to its storage backend."""

import os
import re
from urllib.parse import unquote, urlsplit

from parquedb.errors import ConfigurationError
from parquedb.observability.logs.redaction import redactor
from parquedb.settings import Settings
from parquedb.storage.backend import StorageBackend
from parquedb.storage.backends.local import LocalBackend
from parquedb.storage.backends.memory import MemoryBackend

FORMS = "a directory path, file:///absolute/path, s3://bucket/prefix or memory://name"
PREFIX_LENGTH_MAX = 300

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]")
_MEMORY_NAME = re.compile(r"[A-Za-z0-9._-]{0,100}")
_PREFIX_SEGMENT = re.compile(r"[^\x00-\x1f\x7f\\?#]+")


def open_backend(settings: Settings, *, read_only: bool = False) -> StorageBackend:
    """Return the bare backend that `settings.url` names; a local directory is made if it does not exist.

    Args:
        settings: Where it is, and how to reach it.
        read_only: A local directory must exist, and nothing in it is changed.

    Raises:
        ConfigurationError: the URL has none of the accepted forms, the directory cannot be used, or one half of the
            S3 credentials is missing.
    """
    # Every process that may come to quote the credentials opens its storage here.
    redactor.hide(settings.key, settings.reveal_secret())
    redactor.hide_fields(settings.log_redact)
    url = settings.url
    match = _SCHEME.match(url)
    scheme = match[1].lower() if match else ""
    if scheme == "s3" and url[3:5] == "//":
        return _open_s3(url[5:], settings)
    if scheme == "memory" and url[7:9] == "//":
        return _open_memory(url[9:])
    if scheme == "file":
        return _open_local(_path_of(url), settings, read_only)
    if scheme:
        raise _refused(f"{scheme}: is no place for a database")
    if url.startswith("~/"):
        url = os.path.expanduser(url)
    return _open_local(url, settings, read_only)


def open_fallback(settings: Settings) -> StorageBackend | None:
    """Return the bare backend of the replica to read from while the database's own cannot be read; None without one.

    Raises:
        ConfigurationError: as `open_backend`.
    """
    storage = settings.storage
    if storage.read_fallback_url is None:
        return None
    replica = {
        "url": storage.read_fallback_url,
        "endpoint_url": storage.read_fallback_endpoint_url or settings.endpoint_url,
        "region": storage.read_fallback_region or settings.region,
    }
    return open_backend(settings.model_copy(update=replica), read_only=True)


def _open_local(path: str, settings: Settings, read_only: bool) -> StorageBackend:
    if not path.strip() or "\0" in path:
        raise _refused("the path is empty or holds NUL")
    return LocalBackend(path, timeout_s=settings.storage.timeout_s, read_only=read_only)


def _path_of(url: str) -> str:
    parts = urlsplit(url)
    if parts.netloc not in {"", "localhost"} or not parts.path.startswith("/") or parts.query or parts.fragment:
        raise _refused("a file URL holds an absolute path of this machine and nothing else")
    return unquote(parts.path)


def _open_memory(name: str) -> StorageBackend:
    if not _MEMORY_NAME.fullmatch(name):
        raise _refused("a memory name consists of letters, digits, '.', '_' and '-'")
    return MemoryBackend(name or None)


def _open_s3(place: str, settings: Settings) -> StorageBackend:
    from parquedb.storage.backends.s3 import S3Backend  # noqa: PLC0415 - s3fs takes half a second to import
    from parquedb.storage.backends.s3_client import S3Options  # noqa: PLC0415 - as above

    bucket, _, rest = place.partition("/")
    if not _BUCKET.fullmatch(bucket):
        # The text is not repeated: someone may have put credentials in front of an '@'.
        raise _refused("what stands between s3:// and the next '/' is no bucket name")
    segments = [segment for segment in rest.split("/") if segment]
    prefix = "/".join(segments)
    if any(segment in {".", ".."} or not _PREFIX_SEGMENT.fullmatch(segment) for segment in segments):
        raise _refused("the prefix must not hold '.' or '..' as a folder, nor '?', '#', '\\' or control characters")
    if len(prefix.encode(errors="replace")) > PREFIX_LENGTH_MAX:
        raise _refused(f"the prefix is longer than {PREFIX_LENGTH_MAX} bytes")
    if (settings.key is None) != (settings.secret is None):
        missing = "key" if settings.key is None else "secret"
        raise ConfigurationError(f"S3 credentials need both key and secret; {missing} is missing", setting=missing)
    options = S3Options(
        endpoint_url=settings.endpoint_url,
        key=settings.key,
        secret=settings.secret.get_secret_value() if settings.secret else None,
        region=settings.region,
        pool_connections=settings.storage.pool_connections,
    )
    return S3Backend(bucket, prefix, options=options, timeout_s=settings.storage.timeout_s)


def _refused(reason: str) -> ConfigurationError:
    return ConfigurationError(f"the database URL is not usable: {reason}; use {FORMS}", setting="url")
