"""Checks of the environment's variables: names that nobody reads are the settings that seem to have no effect."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from parquedb.cluster.doctor.checks import Check, failed, ok, warning
from parquedb.settings import Settings, env_name
from parquedb.settings.database import ENV_PREFIX
from parquedb.settings.gateway import GatewaySettings, gateway_env_name
from parquedb.settings.logs import LogSettings

OTHERS = frozenset({"PARQUEDB_VERIFY"})
"""Read by something else than the settings: the costly checks of the test suite."""


def known_names() -> frozenset[str]:
    """Return every variable that means something."""
    names = set(OTHERS)
    for model, name in ((Settings, env_name), (LogSettings, env_name), (GatewaySettings, gateway_env_name)):
        for path in _paths(model):
            names.add(name(*path))
    return frozenset(names)


def _paths(model: type[BaseModel]) -> Iterator[tuple[str, ...]]:
    for field, info in model.model_fields.items():
        yield (field,)
        kind: Any = info.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from ((field, *path) for path in _paths(kind))


def settings(environ: Mapping[str, str], problem: str | None) -> Check:
    """Judge the variables.

    Args:
        environ: The environment.
        problem: Why the settings could not be read; None when they could.
    """
    known = known_names()
    # Settings are read whatever the case of a variable's name.
    given = sorted(name for name in environ if name.upper().startswith(ENV_PREFIX))
    unknown = [_worded(name, known) for name in given if name.upper() not in known and name not in (problem or "")]
    if problem is not None:
        return failed("settings", "; ".join([problem, *unknown]))
    if unknown:
        return warning("settings", "; ".join(unknown))
    return ok("settings", f"{len(given)} variables, all known" if given else "none is set")


def _worded(name: str, known: frozenset[str]) -> str:
    close = difflib.get_close_matches(name.upper(), known, n=1, cutoff=0.6)
    hint = f"; did you mean {close[0]}?" if close else ""
    return f"{name} is read by nobody{hint}"
