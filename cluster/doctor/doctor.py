"""`parquedb doctor`: all checks at the same time, each within its own, so that the whole ends whatever hangs."""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from parquedb.clock import Clock, SystemClock
from parquedb.cluster.doctor import environment, machine
from parquedb.cluster.doctor.checks import REMEDIES, Check, Examination, Patient, Status, failed, skipped
from parquedb.cluster.doctor.cluster import JOIN_S, cluster
from parquedb.cluster.doctor.cluster import NAMES as CLUSTER
from parquedb.cluster.doctor.collector import collector
from parquedb.cluster.doctor.gateway import gateway
from parquedb.cluster.doctor.store import NAMES as STORE
from parquedb.cluster.doctor.store import store
from parquedb.cluster.runtime.naming import resolve
from parquedb.errors import ConfigurationError
from parquedb.settings import Settings, env_name
from parquedb.settings.environment import load_settings

TIMEOUT_S: Final = 5.0
_MARGIN_S: Final = 2.0
"""A check that keeps its own time says more than that its time is up."""


@dataclass(frozen=True, slots=True)
class DoctorReport:
    """What was found.

    Attributes:
        url: Of the database; None where none is named, or the settings could not be read.
        checks: In the order of `REMEDIES`.
        duration_s: Seconds for all of it.
        hanging: Whether some check still runs: its thread cannot be ended from here.
    """

    url: str | None
    checks: tuple[Check, ...]
    duration_s: float
    hanging: bool = False

    @property
    def ok(self) -> bool:
        """Whether no check has failed."""
        return not self.of(Status.FAILED)

    def of(self, status: Status) -> list[Check]:
        """Return the checks that came to this."""
        return [check for check in self.checks if check.status is status]

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        checks = [asdict(check) for check in self.checks]
        return {"url": self.url, "ok": self.ok, "duration_s": self.duration_s, "checks": checks}


def doctor(
    url: str | os.PathLike[str] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    clock: Clock | None = None,
    timeout_s: float = TIMEOUT_S,
    **settings: Any,
) -> DoctorReport:
    """Check this machine, its settings and the store of a database; leaves nothing behind.

    Args:
        url: Of the database, or of a gateway; `PARQUEDB_URL` when None. Without any, only the rest is checked.
        environ: Variables to look at instead of those of this process; settings are read from this process's.
        clock: Of this machine.
        timeout_s: Seconds for each check, above 0; joining a Ray cluster may take `JOIN_S`.
        **settings: As of `connect`.
    """
    began_s = time.monotonic()
    has_url = url is not None or bool(os.environ.get(env_name("url")))
    found, problem = _settings(url if has_url else "memory://", settings)
    variables = environ if environ is not None else os.environ
    patient = Patient(found, variables, clock or SystemClock(), timeout_s, has_url)
    before = set(threading.enumerate())
    running = [_Running(one, patient) for one in _examinations(problem, timeout_s)]
    checks = [check for one in running for check in one.checks()]
    order = list(REMEDIES)
    checks.sort(key=lambda check: order.index(check.name))
    # A store gives up its threads when the disk does not answer, but Python waits for them when it ends.
    hanging = any(one.hanging for one in running) or any(
        thread for thread in threading.enumerate() if thread not in before and not thread.daemon
    )
    return DoctorReport(
        found.url if found is not None and has_url else None, tuple(checks), time.monotonic() - began_s, hanging
    )


def _settings(url: str | os.PathLike[str] | None, arguments: dict[str, Any]) -> tuple[Settings | None, str | None]:
    try:
        read = load_settings(url, **arguments)
        return (read if read.is_gateway else resolve(read)), None
    except ConfigurationError as error:
        return None, error.message


def _examinations(problem: str | None, timeout_s: float) -> list[Examination]:
    def variables(patient: Patient) -> Iterator[Check]:
        yield environment.settings(patient.environ, problem)

    alone: list[tuple[tuple[str, ...], Callable[[Patient], Iterator[Check]]]] = [
        (("settings",), variables),
        (("python", "packages"), machine.python),
        (("memory", "shared-memory"), machine.memory),
        (("open-files",), machine.limits),
        (("clock-steps",), machine.clock_steps),
        (STORE, store),
        (("collector",), collector),
        (("gateway",), gateway),
    ]
    made = [Examination(names, run, timeout_s + _MARGIN_S) for names, run in alone]
    return [*made, Examination(CLUSTER, cluster, timeout_s + JOIN_S + _MARGIN_S)]


class _Running:
    """An examination under way.

    Attributes:
        hanging: Whether it was given up.
    """

    def __init__(self, examination: Examination, patient: Patient) -> None:
        self._examination = examination
        self._patient = patient
        self._found: queue.SimpleQueue[Check | BaseException | None] = queue.SimpleQueue()
        self.hanging = False
        # A daemon: what hangs in a dead mount or a lost packet must not keep the process.
        threading.Thread(target=self._run, name="parquedb-doctor", daemon=True).start()

    def checks(self) -> Iterator[Check]:
        """Yield what each check came to; those that never end have failed."""
        left = list(self._examination.names)
        while left:
            try:
                found = self._found.get(timeout=self._examination.timeout_s)
            except queue.Empty:
                self.hanging = True
                yield failed(left.pop(0), f"it did not end within {self._examination.timeout_s:g} s")
                break
            if isinstance(found, Check):
                left.remove(found.name)
                yield found
            else:
                why = "it ended early" if found is None else f"{type(found).__name__}: {found}"
                yield failed(left.pop(0), why)
                break
        else:
            self._wait_until_tidy()
        for name in left:
            yield skipped(name, "what comes before it did not end")

    def _wait_until_tidy(self) -> None:
        """Wait until it has removed what it made, as long as a check may take."""
        with contextlib.suppress(queue.Empty):
            self._found.get(timeout=self._examination.timeout_s)
            return
        self.hanging = True

    def _run(self) -> None:
        try:
            for check in self._examination.run(self._patient):
                self._found.put(check)
            self._found.put(None)
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is an answer
            self._found.put(error)
