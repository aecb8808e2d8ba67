"""Who may ask an owner for what: the grant that comes with a call is verified here, and each operation held to it.

Nobody is asked for a grant where the database does not require one. Where it does, these stay free, for they show no
document and no name of a caller, and whoever looks after the cluster needs them most when grants are wrong:

    ping, health, circuit_health   states, numbers, reasons
    close                          harmless: the next call opens again; and whoever can call it could end the process
"""

import os
from collections.abc import Awaitable, Callable, Sequence

from pydantic import ValidationError as InvalidSettings

from parquedb.access.grants import GrantKeys, Verifier, taken_off
from parquedb.actors.reporting import journal
from parquedb.actors.reporting.announcements import Announcer
from parquedb.actors.reporting.metering import OwnerMeter
from parquedb.actors.requests.operations import Operation, Outcome
from parquedb.actors.requests.permits import Permits, permits_of
from parquedb.errors import AuthorizationError, ConfigurationError, ErrorCode
from parquedb.observability.logs.redaction import redactor
from parquedb.settings import env_name
from parquedb.settings.grants import GrantSettings

Execute = Callable[[Sequence[Operation]], Awaitable[list[Outcome]]]


class Doorkeeper:
    """Admits the calls to one owner.

    Args:
        keys: Verify grants; None where none are required.
        namespace: What the owner owns.
        announcer: Tells hooks of what was denied.
        meter: Counts what was turned away, if anything is counted.
    """

    def __init__(self, keys: GrantKeys | None, namespace: str, announcer: Announcer, meter: OwnerMeter | None) -> None:
        self._verifier = None if keys is None else Verifier(keys)
        self._namespace = namespace
        self._announcer = announcer
        self._meter = meter

    @property
    def required(self) -> bool:
        """Whether calls need a grant."""
        return self._verifier is not None

    def admitted(self, grant: str | None) -> Permits | None:
        """Return what the bearer of a grant may do; None where everybody may do everything.

        Raises:
            AuthenticationRequiredError: there is no grant, or it is not valid here.
            TokenExpiredError: it has ended.
        """
        if self._verifier is None:
            return None
        try:
            return permits_of(self._verifier.verify(grant).permissions, self._namespace)
        except AuthorizationError as error:
            journal.turned_away(self._namespace, error)
            if self._meter is not None:
                self._meter.turned_away(error)
            raise

    def admitted_with(self, payload: bytes) -> tuple[Permits | None, bytes]:
        """Take the grant off a payload; return what its bearer may do, and the rest. Raises like `admitted`."""
        grant, rest = taken_off(payload)
        return self.admitted(grant), rest

    def check(self, method: str, grant: str | None) -> None:
        """Return if the bearer of a grant may call a method of the actor that is no operation.

        Raises:
            AuthorizationError: no.
        """
        permits = self.admitted(grant)
        if permits is None:
            return
        try:
            permits.check_method(method)
        except AuthorizationError as error:
            journal.denied(self._namespace, [error])
            raise

    async def carried_out(self, operations: Sequence[Operation], permits: Permits, execute: Execute) -> list[Outcome]:
        """Execute the operations of a call that are allowed, and answer the others; outcomes come in their order."""
        denials = {at: error for at, each in enumerate(operations) if (error := permits.denial(each)) is not None}
        if not denials:
            return await execute(operations)
        journal.denied(self._namespace, list(denials.values()))
        allowed = [each for at, each in enumerate(operations) if at not in denials]
        outcomes = iter(await execute(allowed) if allowed else [])
        await self._announce([operations[at] for at in denials], [Outcome(error=error) for error in denials.values()])
        return [Outcome(error=denials[at]) if at in denials else next(outcomes) for at in range(len(operations))]

    async def _announce(self, operations: Sequence[Operation], outcomes: list[Outcome]) -> None:
        """Tell hooks of what was denied, as of a call of its own: among others that went well it would not show."""

        async def answered(_span: bytes | None) -> list[Outcome]:
            return outcomes

        if not self._announcer.idle:
            await self._announcer.announced(operations, answered)


def keys_in_force(settings: GrantSettings, given: GrantKeys | None) -> GrantKeys | None:
    """Return the keys with which an owner verifies grants; None where it asks for none.

    What the environment of this process says counts for more than what the client brought that started the owner:
    otherwise whoever came first could start one that asks nobody.

    Args:
        settings: The client's.
        given: The keys that the client holds, and the database it means.

    Raises:
        ConfigurationError: grants are required, and there is no key.
    """
    variables = {name: os.environ.get(env_name("access", name)) for name in ("required", "keys")}
    try:
        here = GrantSettings(**{name: value for name, value in variables.items() if value})  # type: ignore[arg-type]
    except InvalidSettings:
        here = None
    # Out here, so that the library's error is no context of ours.
    if here is None:
        names = ", ".join(env_name("access", name) for name in variables)
        raise ConfigurationError(f"{names} of this node cannot be used", setting=env_name("access"))
    if not (settings.required or here.required):
        return None
    database, keys = ("", ()) if given is None else (given.database, given.keys)
    keys = here.reveal_keys() or keys
    if not keys:
        raise ConfigurationError(
            "grants are required, and neither the client that starts this owner nor its node has a key of grants",
            code=ErrorCode.MISSING_CONFIG,
            setting=env_name("access", "keys"),
        )
    redactor.hide(*keys)
    return GrantKeys(database, keys)
