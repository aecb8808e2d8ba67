"""Posting to a collector over one connection of the standard library, at a fifth of what `requests` takes for it.

It stands in for the transport of the SDK's exporters, which keep what is difficult: compression, deadlines, repeats.
Only for plain HTTP straight to the collector; proxies, passwords and certificates are better left to `requests`.
"""

import http.client
import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, cast
from urllib.parse import urlsplit

ANSWER_BYTES_MAX: Final = 1 << 16
"""What is read of an answer, bytes; whoever says more has to be connected to anew."""

_TIMEOUT_MIN_S: Final = 0.001
"""A socket takes 0 s for "never wait"."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a request, as the SDK's exporters want to know it.

    Attributes:
        status_code: Of HTTP; None where there was no answer.
        reason: The words that go with it.
        error: Why there was no answer.
    """

    status_code: int | None = None
    reason: str | None = None
    error: Exception | None = None
    _headers: Mapping[str, str] = field(default_factory=dict)

    def headers(self) -> Mapping[str, str]:
        """Return the header fields; case does not matter."""
        return self._headers


class KeptConnection:
    """A connection that is opened with the first request and whenever it has been lost. For one thread.

    Args:
        url: Where every request goes; see `is_plain`.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._host, self._port = parts.hostname or "", parts.port
        self._connection: http.client.HTTPConnection | None = None
        self._pid = 0

    def request(
        self,
        method: str,
        _url: str,
        *,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        data: bytes | memoryview | None = None,
    ) -> Answer:
        """Send a request and read its answer; raises nothing.

        Args:
            method: Of HTTP.
            headers: Fields besides those that say where it goes and how long it is.
            timeout: Seconds for each step: connecting, sending, each part of the answer.
            data: The body.
        """
        timeout_s = None if timeout is None else max(timeout, _TIMEOUT_MIN_S)
        try:
            connection = self._opened(timeout_s)
            connection.request(method, self._path, data, dict(headers or {}))
            answer = connection.getresponse()
            answer.read(ANSWER_BYTES_MAX)
            if not answer.isclosed():
                self._forget()
        except Exception as error:  # noqa: BLE001 - the exporter judges it
            self._forget()
            return Answer(error=error)
        return Answer(answer.status, answer.reason, None, cast("Mapping[str, str]", answer.headers))

    def is_connection_error(self, error: Exception | None) -> bool:
        """Whether a request may have failed because of the connection, so that the next one may not."""
        return isinstance(error, OSError | http.client.HTTPException)

    def close(self) -> None:
        """Close it, from any thread: who waits for an answer gets an error."""
        connection = self._connection
        if connection is not None and connection.sock is not None and self._pid == os.getpid():
            with suppress(OSError):
                connection.sock.shutdown(socket.SHUT_RDWR)

    def _opened(self, timeout_s: float | None) -> http.client.HTTPConnection:
        connection = self._connection
        # A fork has its parent's socket, and must not talk in between.
        if connection is None or self._pid != os.getpid():
            connection = self._connection = http.client.HTTPConnection(self._host, self._port, timeout=timeout_s)
            self._pid = os.getpid()
        connection.timeout = timeout_s
        if connection.sock is not None:
            connection.sock.settimeout(timeout_s)
        return connection

    def _forget(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def is_plain(url: str) -> bool:
    """Whether a `KeptConnection` can send there."""
    parts = urlsplit(url)
    return parts.scheme == "http" and bool(parts.hostname) and parts.username is None and url.isascii()
