"""`parquedb status`: one look at everything, and the check after a deployment."""

import json
from dataclasses import dataclass, field
from typing import Any, Final

from rich.console import Console
from rich.text import Text

import parquedb
from parquedb.cluster.cli.canary import NAMESPACE, Canary, Step
from parquedb.cluster.cli.opening import opened, place_of, stored_names, watched
from parquedb.cluster.cli.states import STYLES, health_json, show_owners, verdict, worst_of
from parquedb.cluster.cli.terminal import output
from parquedb.cluster.cli.wording import counted, duration, one_line
from parquedb.cluster.overview.health import DatabaseHealth
from parquedb.errors import PermissionDeniedError, RpcUnavailableError
from parquedb.settings import Settings

_NAMES_SHOWN: Final = 12
_MARKS: Final = {True: ("✔", "green"), False: ("✘", "bold red"), None: ("-", "dim")}


@dataclass(frozen=True, slots=True)
class _Look:
    """What was seen: names, and owners; None where they could not be asked, and why."""

    names: list[str] | None
    health: DatabaseHealth | None
    unasked: str | None = None


@dataclass
class StatusCommand:
    """One run of the command.

    Attributes:
        url: Where the database is; what the environment says when None.
        checking: Whether to check the database by using it.
        canary: Namespace in which it is used for that.
        as_json: Whether to print JSON.
        screen: Where it says it.
    """

    url: str | None
    checking: bool = False
    canary: str = NAMESPACE
    as_json: bool = False
    screen: Console = field(default_factory=output)

    def run(self) -> bool:
        """Look, and print what was seen; return whether nothing is unhealthy and no check failed.

        Raises:
            ParqueDBError: the database cannot be had at all.
        """
        settings = place_of(self.url)
        steps: list[Step] = []
        if self.checking:
            with opened(self.url) as database:
                if not self.as_json:
                    self.screen.print(Text(f"checking {settings.url}", style="bold"))
                for step in Canary(database, self.canary).steps():
                    steps.append(step)
                    self._tell_step(step)
                if not self.as_json:
                    self.screen.print()
                look = _Look(_names(database), database.health())
        else:
            look = _looked(self.url, settings)
        good = all(step.good is not False for step in steps)
        if self.as_json:
            print(json.dumps(_plain(settings, look, steps, good)), file=self.screen.file)
        else:
            self._tell(settings, look)
            if steps:
                self._tell_verdict(good)
        return good and (look.health is None or worst_of(look.health) != "unhealthy")

    def _tell(self, settings: Settings, look: _Look) -> None:
        health = look.health
        state = Text("nobody was asked", style="dim") if health is None else verdict(worst_of(health))
        self.screen.print(Text(f"{settings.url}  ", style="bold") + state)
        if look.names is not None:
            shown = ", ".join(one_line(name) for name in look.names[:_NAMES_SHOWN])
            left = len(look.names) - _NAMES_SHOWN
            more = f" and {left:,} more" if left > 0 else ""
            self._tell_fact("namespaces", f"{len(look.names):,}" + (f": {shown}{more}" if look.names else ""))
        if health is None:
            self._tell_fact("owners", look.unasked or "")
            return
        self._tell_fact("owners", _owners(health))
        self._tell_fact("circuits", _circuits(health))
        self._tell_fact("lag", _lag(health))
        self.screen.print()
        show_owners(health, self.screen)

    def _tell_fact(self, name: str, said: str) -> None:
        self.screen.print(Text(f"{name:<12}", style="bold") + Text(said, style="default"))

    def _tell_step(self, step: Step) -> None:
        if self.as_json:
            return
        mark, style = _MARKS[step.good]
        name = Text(f"{mark} {step.name:<16}", style=style)
        self.screen.print(name + Text(one_line(step.said), style="default"))

    def _tell_verdict(self, good: bool) -> None:
        said = Text("go", style=STYLES["healthy"]) if good else Text("roll back", style=STYLES["unhealthy"])
        self.screen.print()
        self.screen.print(Text("verdict     ", style="bold") + said)


def _looked(url: str | None, settings: Settings) -> _Look:
    """Look without starting anything."""
    names = None if settings.is_gateway else stored_names(settings)
    try:
        with watched(url) as database:
            return _Look(_names(database) if names is None else names, database.health())
    except RpcUnavailableError as error:
        if settings.is_gateway:
            raise
        return _Look(names, None, error.message)


def _names(database: parquedb.Database) -> list[str] | None:
    try:
        return database.namespaces()
    except PermissionDeniedError:
        return None


def _owners(health: DatabaseHealth) -> str:
    counts = {status: sum(one.status == status for one in health.owners.values()) for status in STYLES}
    parts = [f"{count:,} {status}" for status, count in counts.items() if count]
    return f"{len(health.owners):,}" + (
        f": {', '.join(parts)}" if parts else ": nobody uses it in the Ray that was asked"
    )


def _circuits(health: DatabaseHealth) -> str:
    states = [state for one in health_json(health)["owners"].values() for state in one["circuits"].values()]
    states += [str(one.state) for one in health.circuits.values()]
    broken = [state for state in states if state != "closed"]
    if not states:
        return "none"
    return "all closed" if not broken else f"{len(broken):,} of {len(states):,} are not closed"


def _lag(health: DatabaseHealth) -> str:
    lags = [one.report["lag"] for one in health.owners.values() if one.report.get("lag")]
    waiting = sum(lag["queued_ops"] for lag in lags)
    oldest_s = max((max(lag["queue_age_s"], lag["commit_pending_s"]) for lag in lags), default=0.0)
    unflushed_s = max((lag["unflushed_s"] for lag in lags), default=0.0)
    said = "nothing waits" if not waiting else f"{counted(waiting, 'write')} wait, the oldest for {duration(oldest_s)}"
    return said + (f"; in the log alone for {duration(unflushed_s)}" if unflushed_s else "")


def _plain(settings: Settings, look: _Look, steps: list[Step], good: bool) -> dict[str, Any]:
    plain: dict[str, Any] = {"url": settings.url, "namespaces": look.names}
    plain["health"] = None if look.health is None else health_json(look.health)
    if look.unasked is not None:
        plain["unasked"] = look.unasked
    if steps:
        plain["check"] = [{"name": step.name, "good": step.good, "said": step.said} for step in steps]
        plain["go"] = good
    return plain
