"""Schemas: what the documents of a namespace must look like, from a pydantic model or the compact notation.

source      `parse` a pydantic model class, or a dict in compact notation, into a `Schema`
schema      immutable, the only form that is stored: `Schema`, `Field`, `FieldType`
guard       checks documents against a schema, and fills in defaults
evolution   says what keeps one schema from following another
"""

from parquedb.schemas.guard import Guard, Mode
from parquedb.schemas.json_schema import to_json_schema
from parquedb.schemas.model import Field, FieldType, Relation, Schema
from parquedb.schemas.source import parse

__all__ = ["Field", "FieldType", "Guard", "Mode", "Relation", "Schema", "parse", "to_json_schema"]
