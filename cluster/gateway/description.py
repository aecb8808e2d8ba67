"""The OpenAPI description of the gateway, written by hand: no model of it is on the way of a request."""

from typing import Any, Final

from parquedb.cluster.gateway import routes
from parquedb.cluster.gateway.admission import METHODS
from parquedb.cluster.gateway.description_parts import (
    FLAG,
    HEADERS,
    NUMBER,
    PARAMETERS,
    RESPONSES,
    SCHEMAS,
    TEXT,
    Json,
    body_of,
    problems,
    query,
    ref,
)
from parquedb.cluster.gateway.exports import FORMATS
from parquedb.cluster.gateway.imports import MEDIA_TYPES

_BINARY: Final[Json] = {"type": "string", "format": "binary"}


def describe(version: str) -> dict[str, Any]:
    """Return the description.

    Args:
        version: Of this library.
    """
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "ParqueDB",
            "version": version,
            "description": "Documents over HTTP. Values that JSON lacks are MongoDB's Extended JSON.",
        },
        "paths": _paths(),
        "components": {
            "schemas": SCHEMAS,
            "parameters": PARAMETERS,
            "headers": HEADERS,
            "responses": RESPONSES,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "A JWT or an API key."},
                "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
        },
        "security": [{"bearer": []}, {"apiKey": []}],
    }


def _paths() -> dict[str, Json]:
    return {
        routes.HEALTH: {"get": _open("Whether this process is alive", ref("schemas", "Status"))},
        routes.READY: {"get": _open("Whether it should be sent requests", ref("schemas", "Status"), busy=True)},
        routes.METRICS: {"get": _get("Counts for Prometheus", [], {"text/plain": {"schema": TEXT}})},
        routes.NAMESPACES: {"get": _get("The namespaces that you may read", [], body_of(ref("schemas", "Namespaces")))},
        routes.NAMESPACE: {
            "parameters": [ref("parameters", "namespace")],
            "get": _get("Find documents", _FIND, body_of(ref("schemas", "Page"))),
            "post": _write(
                "Create a document", [query("id", TEXT, "Its id.")], "NewDocument", {"201": _document("Created")}
            ),
        },
        routes.DOCUMENT: {
            "parameters": [ref("parameters", "namespace"), ref("parameters", "id")],
            **_document_methods(),
        },
        routes.METHOD: {
            "parameters": [ref("parameters", "namespace"), _method()],
            "post": _write("Call a method of a collection", [], None, {"200": _answer(ref("schemas", "Answer"))}),
        },
        routes.OPERATIONS: {
            "parameters": [ref("parameters", "namespace")],
            "post": _write(
                "Many operations, each for itself", [], "Operations", {"200": _answer(ref("schemas", "Results"))}
            ),
        },
        routes.IMPORT: {"parameters": [ref("parameters", "namespace")], "post": _import()},
        routes.EXPORT: {"parameters": [ref("parameters", "namespace")], "get": _export()},
        routes.CHANGES: {
            "parameters": [ref("parameters", "namespace")],
            "get": _get(
                "What happened, as a page or as server-sent events",
                [query("after", NUMBER, "Only changes with a greater seq."), query("limit", NUMBER, "1 to 1 000.")],
                {**body_of(ref("schemas", "Changes")), "text/event-stream": {"schema": TEXT}},
            ),
        },
        routes.HISTORY: {
            "parameters": [ref("parameters", "namespace")],
            "get": _get(
                "The changes of one document",
                [
                    {**query("id", TEXT, "Which document."), "required": True},
                    query("after", NUMBER, "Only changes with a greater seq."),
                    query("limit", NUMBER, "1 to 1 000."),
                ],
                body_of(ref("schemas", "History")),
            ),
        },
        routes.SCHEMA: {
            "parameters": [ref("parameters", "namespace")],
            "get": _get("The schema in force", [], body_of(ref("schemas", "Schema"))),
            "put": _write(
                "Register a schema",
                [query("mode", TEXT, "strict, permissive or warn."), query("validate_existing", FLAG, "Look first.")],
                "NewDocument",
                {"200": _answer(ref("schemas", "Schema"))},
            ),
        },
    }


_FIND: Final = [
    *(ref("parameters", name) for name in ("filter", "sort", "fields", "as_of", "include_deleted")),
    query("limit", {"type": "integer", "minimum": 1, "maximum": 10_000}, "Documents of a page."),
    query("skip", NUMBER, "Leave out so many; a cursor costs less."),
    query("cursor", TEXT, "`next_cursor` of the page before."),
    query("total", FLAG, "Whether to count all matches."),
]


def _document_methods() -> Json:
    conditions = [ref("parameters", "If-Match"), ref("parameters", "If-None-Match")]
    shown = [ref("parameters", name) for name in ("fields", "as_of", "include_deleted")]
    get = _get("A document", [*shown, *conditions], body_of(ref("schemas", "Document")), "412")
    get["responses"] |= {"200": _document("The document"), "304": {"description": "You have it already."}}
    done = {"204": {"description": "Deleted."}}
    patch = [query("upsert", FLAG, "Make it if there is none."), query("array_filters", TEXT, "JSON."), *conditions]
    return {
        "get": get,
        "head": {**get, "summary": "The headers of a document"},
        "put": _write("Replace a document", conditions, "NewDocument", _stored(), "412"),
        "patch": _write("Change a document by update operators", patch, "Update", _stored(), "412"),
        "delete": _write("Delete a document", [query("hard", FLAG, "For good."), *conditions], "", done, "412"),
    }


def _import() -> Json:
    options = [
        query("id_column", TEXT, "The column that holds the ids; `$id`."),
        query("on_error", {"enum": ["stop", "skip"]}, "Whether rows that cannot be stored are left out."),
        query("delimiter", TEXT, "CSV: between cells."),
        query("header", FLAG, "CSV: whether the first row names the columns."),
        query("types", TEXT, "CSV: JSON, types by column."),
    ]
    made = _write("Store many documents", options, "", {"200": _answer(ref("schemas", "Imported"))})
    body = {"required": True, "content": {kind: {"schema": _BINARY} for kind in MEDIA_TYPES}}
    return {**made, "requestBody": body}


def _export() -> Json:
    chosen = [query("format", {"enum": list(FORMATS)}, "Of the answer.")]
    chosen += [ref("parameters", name) for name in ("filter", "fields", "sort", "as_of")]
    content = {media_type.partition(";")[0]: {"schema": _BINARY} for _, media_type in FORMATS.values()}
    return _get("Documents of one moment as a file", chosen, content, "507")


def _method() -> Json:
    return {
        "name": "method",
        "in": "path",
        "required": True,
        "schema": {"enum": sorted(METHODS)},
        "description": "The body holds its keyword arguments.",
    }


def _answer(schema: Json, words: str = "Done.") -> Json:
    return {"description": words, "content": body_of(schema)}


def _document(words: str) -> Json:
    found = _answer(ref("schemas", "Document"), words)
    return {**found, "headers": {"ETag": ref("headers", "ETag"), "Location": ref("headers", "Location")}}


def _stored() -> Json:
    return {"200": _document("Stored"), "201": _document("Made")}


def _open(summary: str, schema: Json, *, busy: bool = False) -> Json:
    found = {"200": _answer(schema)} | ({"503": _answer(schema, "Not now.")} if busy else {})
    return {"summary": summary, "security": [], "responses": found}


def _get(summary: str, parameters: list[Json], content: Json, *more: str) -> Json:
    return {
        "summary": summary,
        "parameters": [*parameters, ref("parameters", "Request-Timeout")],
        "responses": {"200": {"description": "Found.", "content": content}, **problems(*more)},
    }


def _write(summary: str, parameters: list[Json], body: str | None, answers: Json, *more: str) -> Json:
    """Describe a write; `body` names the schema of its body: None for any object, empty for no body."""
    made: Json = {
        "summary": summary,
        "parameters": [*parameters, ref("parameters", "Idempotency-Key"), ref("parameters", "Request-Timeout")],
        "responses": {**answers, **problems(*more)},
    }
    if body != "":
        made["requestBody"] = {
            "required": body is not None,
            "content": body_of({"type": "object"} if body is None else ref("schemas", body)),
        }
    return made
