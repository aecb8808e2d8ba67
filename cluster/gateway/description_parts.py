"""The parts of the OpenAPI description that several paths share: schemas, parameters, header fields and answers."""

from typing import Any, Final

Json = dict[str, Any]

PROBLEM: Final = "application/problem+json"


def ref(kind: str, name: str) -> Json:
    """Return a reference to a part by its kind, such as `schemas`."""
    return {"$ref": f"#/components/{kind}/{name}"}


def body_of(schema: Json, media_type: str = "application/json") -> Json:
    """Return the content of a body."""
    return {media_type: {"schema": schema}}


def query(name: str, schema: Json, description: str) -> Json:
    """Return a parameter of the query string."""
    return {"name": name, "in": "query", "required": False, "schema": schema, "description": description}


def header(name: str, schema: Json, description: str) -> Json:
    """Return a field of the request's header."""
    return {"name": name, "in": "header", "required": False, "schema": schema, "description": description}


TEXT: Final[Json] = {"type": "string"}
FLAG: Final[Json] = {"type": "boolean"}
NUMBER: Final[Json] = {"type": "integer", "minimum": 0}

_NAMESPACE: Final[Json] = {
    "name": "namespace",
    "in": "path",
    "required": True,
    "description": "Name of the namespace, percent-encoded.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 128, "pattern": r"^[^/\\$][^/\\]*$"},
}
_ID: Final[Json] = {
    "name": "id",
    "in": "path",
    "required": True,
    "description": "Id of the document, percent-encoded; everything behind `/documents/` is the id, slashes too.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 512},
}

PARAMETERS: Final[dict[str, Json]] = {
    "namespace": _NAMESPACE,
    "id": _ID,
    "If-Match": header("If-Match", TEXT, 'Only if the document has one of these tags, such as `"3"`; `*` for any.'),
    "If-None-Match": header("If-None-Match", TEXT, "Only if it has none of these tags; `*` with PUT: only if new."),
    "Idempotency-Key": header(
        "Idempotency-Key",
        {"type": "string", "minLength": 1, "maxLength": 255},
        "The same request with the same key is applied once, and answered alike.",
    ),
    "Request-Timeout": header(
        "Request-Timeout", {"type": "number", "exclusiveMinimum": 0}, "Seconds that the caller waits."
    ),
    "filter": query("filter", TEXT, "JSON, MongoDB-style."),
    "fields": query("fields", TEXT, 'JSON: `["title"]`, `{"title": 1}` or `{"body": 0}`.'),
    "sort": query("sort", TEXT, "A field, `-field` for descending, or JSON for several."),
    "as_of": query("as_of", TEXT, "The state after the change with this seq, or at this ISO 8601 time."),
    "include_deleted": query("include_deleted", FLAG, "Whether soft-deleted documents are seen."),
}

_ANY: Final[Json] = {}
_OBJECT: Final[Json] = {"type": "object"}
_SEQ: Final[Json] = {"type": "integer", "minimum": 0, "description": "Seq of the last change that it shows or made."}

SCHEMAS: Final[dict[str, Json]] = {
    "Document": {
        "type": "object",
        "description": "A document; values that JSON lacks are MongoDB's Extended JSON, such as "
        '`{"$date": "2026-01-02T03:04:05Z"}`.',
        "properties": {
            "$id": TEXT,
            "version": {"type": "integer", "minimum": 1},
            "createdAt": _ANY,
            "updatedAt": _ANY,
        },
        "additionalProperties": True,
    },
    "NewDocument": {"type": "object", "description": "The fields of a document.", "additionalProperties": True},
    "Update": {
        "type": "object",
        "description": "Update operators.",
        "examples": [{"$set": {"title": "New"}, "$inc": {"views": 1}}],
    },
    "Page": {
        "type": "object",
        "required": ["items", "next_cursor"],
        "properties": {
            "items": {"type": "array", "items": ref("schemas", "Document")},
            "next_cursor": {"type": ["string", "null"]},
            "total": NUMBER,
        },
    },
    "Answer": {"type": "object", "required": ["value"], "properties": {"value": _ANY, "seq": _SEQ, "duplicate": FLAG}},
    "Operation": {
        "type": "object",
        "required": ["op"],
        "properties": {
            "op": TEXT,
            "request_id": {"type": "string", "maxLength": 512},
            "timeout_s": {"type": "number"},
            "age_s": {"type": "number"},
            "traceparent": TEXT,
        },
        "additionalProperties": True,
    },
    "Operations": {
        "type": "object",
        "required": ["operations"],
        "additionalProperties": False,
        "properties": {"operations": {"type": "array", "items": ref("schemas", "Operation")}},
    },
    "Results": {
        "type": "object",
        "required": ["results"],
        "properties": {
            "results": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["ok"],
                    "properties": {"ok": FLAG, "value": _ANY, "seq": _SEQ, "duplicate": FLAG, "error": _OBJECT},
                },
            }
        },
    },
    "Imported": {
        "type": "object",
        "required": ["rows", "skipped", "errors", "bytes"],
        "properties": {
            "rows": NUMBER,
            "skipped": NUMBER,
            "bytes": NUMBER,
            "seconds": {"type": "number"},
            "errors": {
                "type": "array",
                "items": {"type": "object", "properties": {"line": NUMBER, "reason": TEXT}},
            },
        },
    },
    "Change": {
        "type": "object",
        "required": ["seq", "time", "action", "document"],
        "properties": {
            "seq": NUMBER,
            "time": {"type": "string", "format": "date-time"},
            "action": {"enum": ["create", "update", "replace", "delete", "restore", "remove", "schema"]},
            "id": TEXT,
            "document": {"oneOf": [ref("schemas", "Document"), {"type": "null"}]},
        },
    },
    "Changes": {
        "type": "object",
        "required": ["changes"],
        "properties": {
            "changes": {"type": "array", "items": ref("schemas", "Change")},
            "after": {"type": "integer", "description": "Ask for what comes after this seq next."},
        },
    },
    "History": {
        "type": "object",
        "required": ["changes", "has_more", "truncated", "oldest_seq"],
        "properties": {
            "changes": {"type": "array", "items": ref("schemas", "Change")},
            "has_more": FLAG,
            "truncated": {"type": "boolean", "description": "Whether older changes may have been forgotten."},
            "oldest_seq": NUMBER,
        },
    },
    "Schema": {
        "type": "object",
        "properties": {
            "version": NUMBER,
            "seq": NUMBER,
            "mode": TEXT,
            "schema": _OBJECT,
            "versions": {"type": "array"},
        },
    },
    "Namespaces": {
        "type": "object",
        "required": ["namespaces"],
        "properties": {"namespaces": {"type": "array", "items": TEXT}},
    },
    "Status": {
        "type": "object",
        "required": ["status"],
        "properties": {"status": {"enum": ["healthy", "degraded", "unhealthy"]}, "checks": _OBJECT, "owners": _OBJECT},
    },
    "Problem": {
        "type": "object",
        "description": "RFC 9457. `error` is the same error as a Python client sees it.",
        "required": ["type", "title", "status", "detail", "code", "error"],
        "properties": {
            "type": {"type": "string", "format": "uri"},
            "title": TEXT,
            "status": {"type": "integer"},
            "detail": TEXT,
            "code": TEXT,
            "error": _OBJECT,
            "request_id": TEXT,
        },
    },
}

HEADERS: Final[dict[str, Json]] = {
    "ETag": {"description": "The version of the document, in quotes.", "schema": TEXT},
    "Location": {"description": "Where the document is.", "schema": TEXT},
    "Retry-After": {"description": "Seconds after which a repeat may succeed.", "schema": NUMBER},
}

_PROBLEMS: Final = {
    "400": ("BadRequest", "What was sent cannot be understood, or is not valid."),
    "401": ("Unauthorized", "The caller has not said, or not proved, who it is."),
    "403": ("Forbidden", "The caller may not do this."),
    "404": ("NotFound", "There is no such document, method or schema."),
    "408": ("RequestTimeout", "The body did not arrive in time."),
    "409": ("Conflict", "The document is at another version, or the id is taken."),
    "412": ("PreconditionFailed", "The document is not as If-Match or If-None-Match demands."),
    "413": ("ContentTooLarge", "The body is too large."),
    "414": ("UriTooLong", "The URL is too long."),
    "415": ("UnsupportedMediaType", "The body is of a type that is not understood here."),
    "429": ("TooManyRequests", "The caller, or a queue, is at its limit."),
    "431": ("HeaderTooLarge", "There are too many header fields."),
    "500": ("ServerError", "It failed; OUTCOME_UNKNOWN where a write may have been applied."),
    "503": ("Unavailable", "There is no room now, or the store does not answer."),
    "504": ("GatewayTimeout", "There was no answer in time."),
    "507": ("InsufficientStorage", "An export would be too large."),
}

RESPONSES: Final[dict[str, Json]] = {
    name: {
        "description": words,
        "content": body_of(ref("schemas", "Problem"), PROBLEM),
        **({"headers": {"Retry-After": ref("headers", "Retry-After")}} if status in {"429", "503"} else {}),
    }
    for status, (name, words) in _PROBLEMS.items()
}

_ALWAYS: Final = ("400", "401", "403", "404", "408", "409", "413", "414", "415", "429", "431", "500", "503", "504")


def problems(*more: str) -> dict[str, Json]:
    """Return the refusals that any path may answer with, and others by status."""
    return {status: ref("responses", _PROBLEMS[status][0]) for status in (*_ALWAYS, *more)}
