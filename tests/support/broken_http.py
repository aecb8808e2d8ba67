"""Requests that are no HTTP, or say two things at once: each is everything that is sent on a connection."""

HEAD = b"POST /v1/posts HTTP/1.1\r\nHost: gateway\r\n"
INNER = b"DELETE /v1/victim/documents/one?hard=true HTTP/1.1\r\nHost: gateway\r\n\r\n"
DOCUMENT = b'{"title": "x"}'

BROKEN = {
    "two lengths": HEAD + b"Content-Length: 14\r\nContent-Length: 0\r\n\r\n" + DOCUMENT + INNER,
    "a list of lengths": HEAD + b"Content-Length: 14, 0\r\n\r\n" + DOCUMENT + INNER,
    "a length and chunks": HEAD + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + INNER,
    "chunks and a length": HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n" + INNER,
    "chunked twice": HEAD + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked by a trick": HEAD + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunked with a tab": HEAD + b"Transfer-Encoding:\tchunked\r\n\r\n0\r\n\r\n",
    "a space before the colon": HEAD + b"Content-Length : 14\r\n\r\n" + DOCUMENT,
    "a negative length": HEAD + b"Content-Length: -1\r\n\r\n" + DOCUMENT,
    "a signed length": HEAD + b"Content-Length: +14\r\n\r\n" + DOCUMENT,
    "a length in hex": HEAD + b"Content-Length: 0xe\r\n\r\n" + DOCUMENT,
    "a length beyond": HEAD + b"Content-Length: 18446744073709551616\r\n\r\n" + DOCUMENT,
    "a chunk of a negative size": HEAD + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n" + DOCUMENT,
    "a chunk of a size beyond": HEAD + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n" + DOCUMENT,
    "a chunk that is no number": HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n" + DOCUMENT,
    "a chunk with an endless name": HEAD
    + b"Transfer-Encoding: chunked\r\n\r\ne;"
    + b"x" * 200_000
    + b"\r\n"
    + DOCUMENT,
    "bare line feeds": b"GET /health HTTP/1.1\nHost: gateway\n\n",
    "bare carriage returns": b"GET /health HTTP/1.1\rHost: gateway\r\r",
    "a folded header": HEAD + b"X-A: 1\r\n Content-Length: 14\r\n\r\n" + DOCUMENT,
    "a NUL in a header": b"GET /health HTTP/1.1\r\nHost: gateway\r\nX-A: a\x00b\r\n\r\n",
    "a NUL in the target": b"GET /v1/po\x00sts HTTP/1.1\r\nHost: gateway\r\n\r\n",
    "no host": b"GET /health HTTP/1.1\r\n\r\n",
    "two hosts": b"GET /health HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "an absolute target": b"GET http://169.254.169.254/latest/meta-data HTTP/1.1\r\nHost: gateway\r\n\r\n",
    "a target of a proxy": b"CONNECT victim:443 HTTP/1.1\r\nHost: victim:443\r\n\r\n",
    "a star": b"OPTIONS * HTTP/1.1\r\nHost: gateway\r\n\r\n",
    "an old version": b"GET /health\r\n\r\n",
    "a version to come": b"GET /health HTTP/9.9\r\nHost: gateway\r\n\r\n",
    "another protocol": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
    "an upgrade": b"GET /v1/posts HTTP/1.1\r\nHost: g\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
    "a web socket": b"GET /v1/posts HTTP/1.1\r\nHost: g\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
    "an unknown method": b"HACK /v1/posts HTTP/1.1\r\nHost: gateway\r\n\r\n",
    "a method of another case": b"get /health HTTP/1.1\r\nHost: gateway\r\n\r\n",
    "a method to override": b"POST /v1/posts HTTP/1.1\r\nHost: g\r\nX-HTTP-Method-Override: DELETE\r\n"
    b"Content-Length: 2\r\nConnection: close\r\n\r\n{}",
    "a huge header": b"GET /v1/posts HTTP/1.1\r\nHost: gateway\r\nX-A: " + b"a" * 1_000_000 + b"\r\n\r\n",
    "many headers": b"GET /v1/posts HTTP/1.1\r\nHost: gateway\r\n" + b"X-A: a\r\n" * 50_000 + b"\r\n",
    "a huge target": b"GET /v1/posts?filter=" + b"a" * 1_000_000 + b" HTTP/1.1\r\nHost: gateway\r\n\r\n",
    "nothing but blanks": b"\r\n" * 100_000,
    "noise": bytes(range(256)) * 1_000,
}
