"""The check after a deployment: a document written, read, changed and removed, then health, then what is stored."""

import asyncio
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from parquedb.cluster.cli.states import worst_of
from parquedb.cluster.cli.wording import counted
from parquedb.cluster.client.database import Database
from parquedb.cluster.overview.verifying import verify_database
from parquedb.errors import ParqueDBError
from parquedb.observability.hooks import HookRegistry
from parquedb.storage.verification.rules import Severity

NAMESPACE: Final = "canary"
"""Where the document lives for that second; a caller needs permission to write and read there."""

_TIMEOUT_S: Final = 30.0


class Refuted(Exception):  # noqa: N818 - it is what a check finds, and no error of the program
    """The database answered, and not as it should."""


@dataclass(frozen=True, slots=True)
class Step:
    """One part of the check.

    Attributes:
        name: What was tried.
        good: Whether it went well; None where it could not be tried here.
        said: What came of it.
    """

    name: str
    good: bool | None
    said: str


class Canary:
    """Checks a database by using it.

    Args:
        database: To check.
        namespace: Where the document is to live.
    """

    def __init__(self, database: Database, namespace: str = NAMESPACE) -> None:
        self._database = database
        self._collection = database.collection(namespace)
        self._id = f"canary-{uuid.uuid4().hex}"

    def steps(self) -> Iterator[Step]:
        """Go through the check; a document that was written is removed whatever comes of the rest."""
        written = self._tried("write", self._write)
        yield written
        if written.good:
            yield self._tried("read back", self._read)
            yield self._tried("change", self._change)
        # Also where nobody knows whether it was written.
        yield self._tried("delete", self._delete)
        yield self._tried("health", self._health)
        if self._database.settings.is_gateway:
            said = "not behind a gateway: `parquedb verify` where the storage is"
            yield Step("verify --quick", None, said)
        else:
            yield self._tried("verify --quick", self._verify)

    def _tried(self, name: str, work: Callable[[], str]) -> Step:
        try:
            return Step(name, True, work())
        except ParqueDBError as error:
            return Step(name, False, f"{error.code.value}: {error.message}")
        except Refuted as found:
            return Step(name, False, str(found))

    def _write(self) -> str:
        made = self._collection.create({"step": "write"}, id=self._id, timeout_s=_TIMEOUT_S)
        return f"{made['$id']} at version {made['version']}"

    def _read(self) -> str:
        found = self._collection.get(self._id, timeout_s=_TIMEOUT_S)
        if found is None or found.get("step") != "write":
            raise Refuted(f"expected what was written, got {found!r}")
        return "the same"

    def _change(self) -> str:
        changed = self._collection.update(
            self._id, {"$set": {"step": "change"}}, expected_version=1, timeout_s=_TIMEOUT_S
        )
        if changed is None or changed["version"] != 2 or changed["step"] != "change":  # noqa: PLR2004 - the second one
            raise Refuted(f"expected version 2 with the change, got {changed!r}")
        return "at version 2"

    def _delete(self) -> str:
        self._collection.delete(self._id, hard=True, timeout_s=_TIMEOUT_S)
        if self._collection.exists(self._id, include_deleted=True, timeout_s=_TIMEOUT_S):
            raise Refuted("the document is still there")
        return "gone"

    def _health(self) -> str:
        health = self._database.health()
        worst = worst_of(health)
        said = f"{worst}, {counted(len(health.owners), 'owner')}"
        if worst != "healthy":
            raise Refuted(f"{said}{f': {health.error}' if health.error else ''}; `parquedb health` says more")
        return said

    def _verify(self) -> str:
        report = asyncio.run(verify_database(self._database.settings, HookRegistry(), full=False))
        said = counted(len(report.namespaces), "namespace")
        if not report.ok:
            errors = sum(len(one.of(Severity.ERROR)) for one in report.namespaces)
            raise Refuted(f"{counted(errors, 'error')} in {said}; `parquedb verify` names them")
        return f"nothing is broken in {said}"
