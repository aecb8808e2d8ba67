"""Check of the OpenTelemetry collector: whether somebody listens there who speaks the protocol that is set."""

from __future__ import annotations

import http.client
from collections.abc import Iterator, Mapping
from typing import Final
from urllib.parse import SplitResult, urlsplit

from parquedb.cluster.doctor.checks import Check, Patient, failed, ok, skipped, warning

_SIGNALS: Final = ("TRACES", "METRICS", "LOGS")
_PORTS: Final = {"http/protobuf": 4318, "grpc": 4317}
_EXPORT: Final = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
_NOT_FOUND: Final = 404
_ERRORS: Final = 400


def collector(patient: Patient) -> Iterator[Check]:
    """Check every endpoint that the standard variables name."""
    environ = patient.environ
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        yield skipped("collector", "OTEL_SDK_DISABLED=true: nothing is sent")
        return
    endpoints = endpoints_of(environ)
    if not endpoints:
        yield skipped("collector", "OTEL_EXPORTER_OTLP_ENDPOINT is not set: nothing is sent")
        return
    found = [_looked_at(url, protocol, patient.timeout_s / len(endpoints)) for url, protocol in endpoints]
    worst = next((fault for fault in found if fault[0] == "failed"), None) or next(
        (fault for fault in found if fault[0] == "warning"), None
    )
    if worst is None:
        yield ok("collector", "; ".join(words for _, words in found))
    else:
        yield (failed if worst[0] == "failed" else warning)("collector", worst[1])


def endpoints_of(environ: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return the address and protocol that each signal goes to, each once; as the SDK reads the variables."""
    found: dict[tuple[str, str], None] = {}
    for signal in _SIGNALS:
        if environ.get(f"OTEL_{signal}_EXPORTER", "otlp").strip().lower() in {"none", "console"}:
            continue
        protocol = _first(environ, f"OTEL_EXPORTER_OTLP_{signal}_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
        protocol = (protocol or "http/protobuf").lower()
        own = environ.get(f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT", "").strip()
        shared = environ.get("OTEL_EXPORTER_OTLP_ENDPOINT", "").strip()
        if own:
            found[own, protocol] = None
        elif shared:
            path = "" if protocol == "grpc" else f"/v1/{signal.lower()}"
            found[shared.rstrip("/") + path, protocol] = None
    return list(found)


def _first(environ: Mapping[str, str], *names: str) -> str:
    return next((environ[name].strip() for name in names if environ.get(name, "").strip()), "")


def _looked_at(url: str, protocol: str, timeout_s: float) -> tuple[str, str]:
    if protocol not in _PORTS:
        return "failed", f"{protocol!r} is no protocol; expected {' or '.join(_PORTS)}"
    parts = urlsplit(url if "://" in url else f"http://{url}")
    try:
        host, port = parts.hostname, parts.port or _PORTS[protocol]
    except ValueError:
        host, port = None, 0
    if not host or parts.scheme not in {"http", "https"}:
        return "failed", f"{url!r} is no address; expected http://host:{_PORTS[protocol]}"
    try:
        if protocol == "grpc":
            return _grpc(parts, host, port, timeout_s)
        return _http(parts, host, port, timeout_s)
    except TimeoutError:
        return "failed", f"{host}:{port} gave no answer within {timeout_s:.1f} s"
    except (OSError, http.client.HTTPException) as error:
        return "failed", f"{host}:{port} cannot be reached: {error or type(error).__name__}"


def _grpc(parts: SplitResult, host: str, port: int, timeout_s: float) -> tuple[str, str]:
    import grpc  # noqa: PLC0415 - few need it

    where = f"{host}:{port}"
    secure = parts.scheme == "https"
    channel = grpc.secure_channel(where, grpc.ssl_channel_credentials()) if secure else grpc.insecure_channel(where)
    try:
        # An empty request: nothing is stored of it.
        channel.unary_unary(_EXPORT)(b"", timeout=timeout_s)
    except grpc.RpcError as error:
        code = error.code()
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            raise TimeoutError from error
        if code is grpc.StatusCode.UNAVAILABLE:
            return "failed", f"{where} cannot be reached: {error.details()}"
        if code in {grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL}:
            return "failed", f"{where} does not speak OTLP over gRPC ({code.name}); is it the port for http/protobuf?"
        return "warning", f"{where} answers {code.name}"
    finally:
        channel.close()
    return "ok", f"{where} takes what is sent"


def _http(parts: SplitResult, host: str, port: int, timeout_s: float) -> tuple[str, str]:
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(host, port, timeout=timeout_s)
    connection.connect()
    try:
        # An empty request: nothing is stored of it.
        connection.request("POST", parts.path or "/", body=b"", headers={"Content-Type": "application/x-protobuf"})
        status = connection.getresponse().status
    except (http.client.BadStatusLine, ConnectionError):
        return "failed", f"{host}:{port} does not speak HTTP/1.1; is it the port for grpc?"
    finally:
        connection.close()
    where = f"{host}:{port}{parts.path}"
    if status == _NOT_FOUND:
        return "failed", f"{where} does not exist there (404)"
    if status >= _ERRORS:
        return "warning", f"{where} answers {status}"
    return "ok", f"{where} takes what is sent"
