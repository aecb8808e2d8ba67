"""How owners are, as rows of a table: the worst first."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from rich.console import Console
from rich.text import Text

from parquedb.cluster.cli.tables import FittedTable
from parquedb.cluster.cli.wording import counted, duration, one_line
from parquedb.cluster.overview.health import BADNESS, DatabaseHealth, OwnerHealth, Status

ROWS_MAX: Final = 50
"""Owners that are shown; the others are counted."""

STYLES: Final[Mapping[Status, str]] = {"healthy": "green", "degraded": "yellow", "unhealthy": "bold red"}
_MARKS: Final[Mapping[Status, str]] = {"healthy": "✔", "degraded": "!", "unhealthy": "✘"}


def verdict(status: Status) -> Text:
    """Return a status with its mark and colour: it can be told without colours."""
    return Text(f"{_MARKS[status]} {status}", style=STYLES[status])


def worst_of(health: DatabaseHealth) -> Status:
    """Return the worst of a database and its owners. A gateway is degraded at most while an owner does not serve."""
    statuses: list[Status] = [health.status, *(one.status for one in health.owners.values())]
    return max(statuses, key=BADNESS.__getitem__)


def owners_table(owners: Iterable[OwnerHealth]) -> FittedTable:
    """Return a table of owners, the worst first; what waits, since when, and which circuits are not closed."""
    table = FittedTable("namespace", "owner", "state", ">waiting", ">oldest", ">unflushed", "circuits")
    ranked = sorted(owners, key=lambda one: (-BADNESS[one.status], one.namespace))
    for one in ranked[:ROWS_MAX]:
        lag: Mapping[str, Any] = one.report.get("lag") or {}
        waiting = f"{lag['queued_ops']:,}" if lag else ""
        ages = [_age(lag.get(name)) for name in ("queue_age_s", "unflushed_s")]
        shown = Text(one_line(one.namespace))
        table.add_row(shown, verdict(one.status), one.state, waiting, *ages, _circuits(one))
    return table


def show_owners(health: DatabaseHealth, screen: Console) -> None:
    """Print how owners are, and why those that are not healthy are not."""
    if health.owners:
        screen.print(owners_table(health.owners.values()))
    left = len(health.owners) - ROWS_MAX
    if left > 0:
        screen.print(f"[dim]and {counted(left, 'owner')} more[/]")
    for one in health.owners.values():
        for reason in reasons_of(one):
            screen.print(Text(f"{one_line(one.namespace)}: {one_line(reason)}", style=STYLES[one.status]))
    if health.error is not None:
        screen.print(Text(one_line(health.error), style=STYLES["unhealthy"]))


def reasons_of(one: OwnerHealth) -> Sequence[str]:
    """Return why an owner is not healthy."""
    given = [str(reason) for reason in one.report.get("reasons") or ()]
    return given if one.error is None else [*given, one.error]


def health_json(health: DatabaseHealth) -> dict[str, Any]:
    """Return it as plain data."""
    owners = {
        name: {
            "status": one.status,
            "state": one.state,
            "reasons": list(reasons_of(one)),
            "circuits": _states(one),
            "lag": dict(one.report.get("lag") or {}),
        }
        for name, one in health.owners.items()
    }
    return {"status": worst_of(health), "error": health.error, "owners": owners}


def _states(one: OwnerHealth) -> dict[str, str]:
    if one.circuits:
        return {name: str(circuit.state) for name, circuit in one.circuits.items()}
    return {str(name): str(state) for name, state in (one.report.get("circuits") or {}).items()}


def _circuits(one: OwnerHealth) -> Text:
    states = _states(one)
    broken = {name: state for name, state in states.items() if state != "closed"}
    if not states:
        return Text("")
    if not broken:
        return Text("closed")
    said = ", ".join(f"{name.removeprefix(one.namespace + '.')} {state}" for name, state in broken.items())
    return Text(one_line(said), style="yellow")


def _age(seconds: Any) -> str:
    return duration(seconds) if isinstance(seconds, int | float) and seconds > 0 else ""
