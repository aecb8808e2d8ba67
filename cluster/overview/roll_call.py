"""Asking every owner of a database in this cluster at once, and waiting for none beyond the deadline."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import ray
from ray.exceptions import PendingCallsLimitExceeded, RayError

from parquedb.cluster.runtime.lookup import Lookup
from parquedb.cluster.runtime.placement import find, known_owners, served_namespaces
from parquedb.cluster.transport.calls import wait_for
from parquedb.cluster.transport.coalescer import NoReplyYet
from parquedb.errors import RpcUnavailableError
from parquedb.settings import Settings

ASK_TIMEOUT_S: Final = 5.0
"""Seconds for the whole question, unless the caller says otherwise."""

_FETCH_S: Final = 1.0
"""Seconds that a reply which has arrived may take to be unpacked."""


@dataclass(frozen=True, slots=True)
class RollCall:
    """What the owners of a database said.

    Attributes:
        answers: By namespace, one answer to each question.
        silent: Namespaces whose owner did not answer, and why.
        error: Why the owners could not be listed; None when they were. Then those were asked that this process knows.
        nodes: Nodes of the cluster that are alive; 0 where the cluster did not say.
    """

    answers: dict[str, list[Any]] = field(default_factory=dict)
    silent: dict[str, str] = field(default_factory=dict)
    error: str | None = None
    nodes: int = 0


def ask_owners(settings: Settings, questions: Sequence[str], timeout_s: float, *, grant: str | None = None) -> RollCall:
    """Call methods of every owner; starts none, and returns within about `timeout_s` seconds.

    Args:
        settings: Of the database.
        questions: The methods; they take no arguments.
        timeout_s: For all of them.
        grant: The one argument that they take where there is one.
    """
    shown = () if grant is None else (grant,)
    deadline_s = time.monotonic() + timeout_s
    lookup = Lookup("which owners it has", lambda: _asked(settings, questions, shown, timeout_s, deadline_s))
    try:
        called: RollCall = lookup.result(timeout_s + _FETCH_S)
    except RpcUnavailableError:
        # Its head is away, but owners serve on: those that this process has met can be asked all the same.
        called = _answered(known_owners(settings), questions, shown, f"no answer within {_FETCH_S:g} s", _FETCH_S)
        return replace(called, error=f"the cluster did not say within {timeout_s:g} s which owners it has")
    except (RayError, RuntimeError, ValueError) as error:
        return RollCall(error=f"the owners could not be listed: {type(error).__name__}: {error}")
    return called


def _asked(
    settings: Settings, questions: Sequence[str], shown: tuple[str, ...], timeout_s: float, deadline_s: float
) -> RollCall:
    late = f"no answer within {timeout_s:g} s"
    nodes = sum(node["Alive"] for node in ray.nodes())  # type: ignore[no-untyped-call] # Ray's own.
    handles: dict[str, Any] = {}
    silent: dict[str, str] = {}
    for namespace in served_namespaces(settings):
        handle = find(settings, namespace) if time.monotonic() < deadline_s else None
        if handle is not None:
            handles[namespace] = handle
        elif time.monotonic() >= deadline_s:
            silent[namespace] = late
    called = _answered(handles, questions, shown, late, max(0.0, deadline_s - time.monotonic()))
    return replace(called, silent=silent | called.silent, nodes=nodes)


def _answered(
    handles: Mapping[str, Any], questions: Sequence[str], shown: tuple[str, ...], late: str, wait_s: float
) -> RollCall:
    """Ask these owners, and wait so long for all of them; `late` is what is said of those that do not answer."""
    replies: dict[str, list[Any]] = {}
    silent: dict[str, str] = {}
    for namespace, handle in handles.items():
        try:
            replies[namespace] = [getattr(handle, question).remote(*shown) for question in questions]
        except PendingCallsLimitExceeded:
            silent[namespace] = "too many calls of this process wait for it already"
        except AttributeError as error:
            # In the middle of an upgrade: it was started by an older version of this library.
            silent[namespace] = f"its owner cannot be asked that: {error}"
    waited = [reply for asked in replies.values() for reply in asked]
    if waited:
        ray.wait(waited, num_returns=len(waited), timeout=wait_s)
    answers: dict[str, list[Any]] = {}
    for namespace, asked in replies.items():
        said = _said(namespace, asked, late)
        if isinstance(said, str):
            silent[namespace] = said
        else:
            answers[namespace] = said
    return RollCall(answers, silent)


def _said(namespace: str, replies: list[Any], late: str) -> list[Any] | str:
    """Return the answers of one owner, or why there are none."""
    ready, _ = ray.wait(replies, num_returns=len(replies), timeout=0)
    if len(ready) < len(replies):
        return late
    try:
        return [wait_for(reply, namespace, _FETCH_S) for reply in replies]
    except NoReplyYet:
        return late
    except Exception as error:  # noqa: BLE001 - an owner that died or failed is an answer as well
        return f"{type(error).__name__}: {error}"
