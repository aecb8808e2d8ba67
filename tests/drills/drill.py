"""One drill: it happens, its alert fires, the remedy is done as the page says, the alert ends, nothing is lost.

Each step has a bound, and what does not come in time is what the drill finds.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.drills.incidents import Incident
from tests.drills.runbook import Entry
from tests.drills.site import BlockFailedError
from tests.drills.stage import Ground, Stage, set_up
from tests.support.chain import check_attempts, read_history
from tests.support.places import NAMESPACE, settings_of
from tests.support.workloads import State

FIRES_S, ENDS_S = 75.0, 75.0


@dataclass
class Result:
    """What a drill came to.

    Attributes:
        name: Of the incident.
        alert: That names it.
        fired_s: Seconds until it fired; None when it did not.
        ended_s: Seconds from the remedy until it had ended; None when it did not.
        along: Other alerts that fired.
        faults: What was not as it should be.
        acknowledged, unknown: Writes of the callers, by what they were told.
        took_s: All of it, with setting up.
    """

    name: str
    alert: str
    fired_s: float | None = None
    ended_s: float | None = None
    along: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    acknowledged: int = 0
    unknown: int = 0
    took_s: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether everything was as it should be."""
        return not self.faults


async def run_drill(
    ground: Ground, incident: Incident, entry: Entry, folder: Path, say: Callable[[str], None]
) -> Result:
    """Run one; whatever goes wrong is in the result."""
    result = Result(incident.name, entry.alert)
    started_s = time.monotonic()
    try:
        async with set_up(ground, incident.name, folder, incident.settings, on_disk=incident.on_disk) as stage:
            say(f"{incident.name}: all is quiet, {time.monotonic() - started_s:.0f} s")
            await _go_through(stage, incident, entry, result, say)
            await stage.callers.stop()
            await _check_promises(stage, result)
    except (TimeoutError, BlockFailedError, RuntimeError, AssertionError) as error:
        result.faults.append(f"{type(error).__name__}: {error}")
    result.took_s = time.monotonic() - started_s
    return result


async def _go_through(
    stage: Stage, incident: Incident, entry: Entry, result: Result, say: Callable[[str], None]
) -> None:
    watch, alert = stage.watch, entry.alert
    await incident.happen(stage)
    say(f"{incident.name}: it has happened")
    try:
        result.fired_s = await watch.until(lambda: alert in watch.firing, FIRES_S)
    except TimeoutError:
        result.faults.append(f"{alert} did not fire within {FIRES_S:g} s; fired: {sorted(watch.fired)}")
        return
    say(f"{incident.name}: {alert} fires after {result.fired_s:.1f} s")
    await stage.site.run(entry.blocks["Look first"], strictly=False)
    mended_s = time.monotonic()
    await stage.site.run(entry.blocks["Remedy"])
    say(f"{incident.name}: the remedy is done, {time.monotonic() - mended_s:.1f} s")
    try:
        await watch.until(lambda: alert not in watch.firing, ENDS_S)
        result.ended_s = time.monotonic() - mended_s
        await watch.until(lambda: not watch.firing, ENDS_S)
    except TimeoutError:
        result.faults.append(f"still firing after {ENDS_S:g} s: {sorted(watch.firing)}")
        return
    await stage.site.run(entry.blocks["Over when"])
    result.along = sorted(watch.fired.keys() - {alert})
    unexpected = sorted(watch.fired.keys() - {alert} - entry.companions)
    if unexpected:
        result.faults.append(f"fired as well, and should not: {', '.join(unexpected)}")


async def _check_promises(stage: Stage, result: Result) -> None:
    """Hold what callers were told against the log, and against what a reader is shown now."""
    attempts = stage.callers.ledger.attempts
    result.acknowledged = sum(each.state is State.ACKNOWLEDGED for each in attempts)
    result.unknown = sum(each.state is State.UNKNOWN for each in attempts)
    result.faults += stage.callers.wrong
    shown = [document async for document in stage.posts.find({}, limit=1000)]
    history = await read_history(settings_of(stage.place.direct), NAMESPACE)
    check_attempts(history, attempts)
    stored = history.documents()
    assert {each["$id"]: each["version"] for each in shown} == {
        id_: document["version"] for id_, document in stored.items()
    }, "a reader is not shown what the log holds"
    assert result.acknowledged, "nothing was acknowledged at all"
