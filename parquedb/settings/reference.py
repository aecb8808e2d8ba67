"""Every setting as a page: `python -m parquedb.settings.reference > docs/configuration.md`.

The page is made of the settings classes, so it says of each variable what the code holds it to; a test compares.
"""

import sys
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from parquedb.settings.database import GIB, KIB, MIB, Settings, env_name
from parquedb.settings.gateway import GatewaySettings, gateway_env_name
from parquedb.settings.logs import LogSettings

_DAY_S: Final = 86_400
_GROUPED_MIN: Final = 10_000
_BYTES: Final = frozenset({"flush_bytes", "compaction_file_bytes", "query_memory_max"})
_PLAIN: Final = {bool: "`true` or `false`", int: "integer", float: "number", str: "text", SecretStr: "secret text"}
_UNITS: Final = (" s", " days", " B", " KiB", " MiB", " GiB")
_SIGNS: Final = {"ge": "{} or more", "gt": "above {}", "le": "{} or less"}

_HEAD: Final = """\
# Configuration

Every variable that ParqueDB reads from the environment, made of the settings classes (`parquedb/settings/`) by
`python -m parquedb.settings.reference`; a test holds this page to them.

A setting comes from the arguments of the call (`parquedb.connect(url, engine={"flush_rows": 1000})`,
`parquedb.load_settings(...)`), else from its variable, else from its default. An empty variable counts as not set. What
cannot be used is a `ConfigurationError` that names the variable, says what was expected, and shows no secret.

- **Times** (`_S`) are seconds, **sizes** (`_BYTES`, `_BYTES_MAX`) bytes, both plain numbers: `67108864`, not `64MiB`.
- **Lists** are separated by commas, **secrets** are never shown, logged or pickled.
- A gateway's limits hold for each of its replicas by itself, an owner's for each namespace.
- Owners take their settings from the process that starts them, but for `PARQUEDB_ACCESS__REQUIRED` and
  `PARQUEDB_ACCESS__KEYS`, where their node's environment counts as well ([security.md](security.md)).
- Not ours, but read by the libraries below: `AWS_*` (credentials of S3 where `PARQUEDB_KEY` is absent), `OTEL_*`
  ([tracing.md](tracing.md)), `RAY_ADDRESS`, `RAY_AUTH_MODE` and `RAY_AUTH_TOKEN`.
"""


@dataclass(frozen=True, slots=True)
class Variable:
    """One setting as the environment knows it; texts are as the page shows them.

    Attributes:
        name: Of the variable.
        kind: What its text is read as.
        default: What holds when it is absent, with its unit; "" for none.
        bounds: Least and greatest value, with their unit; "" for none.
        description: What it means.
    """

    name: str
    kind: str
    default: str
    bounds: str
    description: str


def variables() -> dict[str, list[Variable]]:
    """Return all variables under the titles of their groups, in the order of the page."""
    logs = list(_variables_of(LogSettings, env_name))
    found = {"The database": [one for one in _variables_of(Settings, env_name) if one not in logs], "Logs": logs}
    for group, model in _groups(Settings):
        found[f"`{group}`: {_subject(model)}"] = list(_variables_of(model, partial(env_name, group)))
    found[f"The gateway: {_subject(GatewaySettings)}"] = list(_variables_of(GatewaySettings, gateway_env_name))
    for group, model in _groups(GatewaySettings):
        rows = _variables_of(model, partial(gateway_env_name, group))
        found[f"The gateway's `{group}`: {_subject(model)}"] = list(rows)
    return found


def render() -> str:
    """Return the page."""
    parts = [_HEAD]
    for title, rows in variables().items():
        table = "".join(
            f"| `{row.name}` | {row.kind} | {row.default} | {row.bounds} | {row.description} |\n" for row in rows
        )
        parts.append(f"## {title}\n\n| variable | type | default | bounds | meaning |\n|---|---|---|---|---|\n{table}")
    return "\n".join(parts)


def _groups(model: type[BaseModel]) -> Iterator[tuple[str, type[BaseModel]]]:
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield name, field.annotation


def _subject(model: type[BaseModel]) -> str:
    """Return the first sentence about a group, to go behind a colon."""
    sentence = (model.__doc__ or "").strip().partition(".")[0].replace("\n", " ")
    return sentence[:1].lower() + sentence[1:]


def _variables_of(model: type[BaseModel], name_of: Callable[[str], str]) -> Iterator[Variable]:
    groups = dict(_groups(model))
    for name, field in model.model_fields.items():
        if name not in groups:
            yield Variable(
                name_of(name), _kind(field.annotation), _default(name, field), _bounds(name, field), _escaped(field)
            )


def _escaped(field: FieldInfo) -> str:
    return (field.description or "").replace("|", "\\|")


def _kind(annotation: Any) -> str:
    if annotation in _PLAIN:
        return _PLAIN[annotation]
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return " or ".join(_kind(one) for one in arguments if one is not type(None))
    if origin is Literal:
        return ", ".join(f"`{choice}`" for choice in arguments)
    if origin is tuple:
        # Pairs are written `name=value`.
        return "list of pairs" if get_origin(arguments[0]) is tuple else f"list of {_kind(arguments[0])}s"
    raise TypeError(f"expected a type that the page has words for, got {annotation}")


def _default(name: str, field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if value is None or value == ():
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, int | float):
        return amount(name, value)
    return "`" + (",".join(value) if isinstance(value, tuple) else str(value)) + "`"


def _bounds(name: str, field: FieldInfo) -> str:
    limits = {side: getattr(mark, side) for mark in field.metadata for side in _SIGNS if hasattr(mark, side)}
    if {"ge", "le"} <= limits.keys():
        least, most = amount(name, limits["ge"]), amount(name, limits["le"])
        unit = least[least.rfind(" ") :]
        # "0.1 to 30 s": a unit that both have is told once.
        return f"{least.removesuffix(unit) if unit in _UNITS and most.endswith(unit) else least} to {most}"
    return ", ".join(_SIGNS[side].format(amount(name, limit)) for side, limit in limits.items())


def amount(name: str, value: float) -> str:
    """Return a number with the unit that the name of its setting says: `amount("flush_bytes", 1024)` is "1 KiB"."""
    if "_bytes" in name or name in _BYTES:
        return _binary(int(value))
    if name.endswith(("_s", "_s_max")):
        whole_days = value >= 2 * _DAY_S and value % _DAY_S == 0
        return f"{_spaced(int(value // _DAY_S))} days" if whole_days else f"{_spaced(value)} s"
    return _spaced(value)


def _binary(value: int) -> str:
    for unit, size in (("GiB", GIB), ("MiB", MIB), ("KiB", KIB)):
        if value >= size and value % size == 0:
            return f"{_spaced(value // size)} {unit}"
    return f"{_spaced(value)} B"


def _spaced(value: float) -> str:
    text = f"{value:,}".removesuffix(".0").replace(",", " ")
    # Four digits stand together, not least those of a port.
    return text if abs(value) >= _GROUPED_MIN else text.replace(" ", "")


if __name__ == "__main__":
    sys.stdout.write(render())
