"""What a process shows the owners it calls, and what it lets itself do.

    keys      it signs grants for itself, for `access.lifetime_s`, and again when half of that is over
    a grant   it shows the one that it was given, until that ends
    neither   it shows nothing, and owners that ask for grants refuse it

Whoever has a grant can narrow it without a key. So views (`db.acting_for`) work alike in all cases, and none can do
more than what it was made from.
"""

import time
from collections.abc import Callable

from parquedb.access.grants import narrow, sign, unverified
from parquedb.access.permissions import EVERYTHING, WHOLE_DATABASE, Permissions
from parquedb.actors.requests.permits import Permits, permits_of
from parquedb.cluster.runtime.naming import database_name
from parquedb.errors import AuthorizationError, ConfigurationError
from parquedb.settings import Settings, env_name

_RENEWED_AFTER = 0.5
"""Part of a grant's life after which the next one is signed: clocks differ, and a call may wait."""


class Credentials:
    """Of a connection, or of a view of one. Threads may share them.

    Args:
        settings: Hold the keys, or the grant.
        now: Unix seconds.

    Attributes:
        permissions: Sets of which each has to allow what is done; none where nothing limits it.
    """

    def __init__(self, settings: Settings, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._signed: tuple[str, float, float] | None = None
        self.adopt(settings)

    def adopt(self, settings: Settings) -> None:
        """Go on with other settings: those of a pickled database find their secrets later.

        Raises:
            ConfigurationError: the grant is none.
        """
        access, self._settings = settings.access, settings
        self._key = next(iter(access.reveal_keys()), None)
        self._own = None if access.permissions is None else Permissions(access.permissions)
        own = () if self._own is None else (self._own,)
        given = access.reveal_grant()
        try:
            self.permissions = own if given is None else (*unverified(given).permissions, *own)
            self._given = given if given is None or self._own is None else narrow(given, self._own)
        except AuthorizationError:
            setting = env_name("access", "grant")
            raise ConfigurationError(f"access.grant ({setting}): expected a grant", setting=setting) from None

    def grant(self) -> str | None:
        """Return what to show with a call that leaves now."""
        if self._key is None:
            return self._given
        signed, now_s = self._signed, self._now()
        # A clock that was set back is no reason to go on with a grant that would end early.
        if signed is not None and signed[1] <= now_s < signed[2]:
            return signed[0]
        lifetime_s = self._settings.access.lifetime_s
        grant = self.lasting(now_s + lifetime_s)
        self._signed = None if grant is None else (grant, now_s, now_s + _RENEWED_AFTER * lifetime_s)
        return grant

    def lasting(self, until_s: float) -> str | None:
        """Return a grant until then, or until the one ends that this process was given; None if it has nothing."""
        if self._key is None:
            return self._given
        return sign(self._key, database_name(self._settings), self._own or Permissions(EVERYTHING), until_s)

    def issue(self, permissions: Permissions, lifetime_s: float) -> str:
        """Return a grant for somebody else, which allows no more than these permissions and one's own.

        Raises:
            ConfigurationError: there is neither a key nor a grant.
        """
        until_s = self._now() + lifetime_s
        grant = self.lasting(until_s)
        if grant is None:
            setting = env_name("access", "keys")
            raise ConfigurationError("a grant is signed with a key, and this process has none", setting=setting)
        return narrow(grant, permissions, until_s)

    def permits(self, namespace: str) -> Permits | None:
        """Return what may be done on a namespace; None for everything."""
        return permits_of(self.permissions, namespace) if self.permissions else None

    def check(self, operation: str, namespace: str = WHOLE_DATABASE) -> None:
        """Return if something may be done that no owner is asked about.

        Raises:
            PermissionDeniedError: it may not.
        """
        for permissions in self.permissions:
            permissions.check(operation, namespace)

    def narrowed(self, permissions: Permissions) -> "NarrowedCredentials":
        """Return credentials that allow no more than these permissions, and no more than these credentials."""
        return NarrowedCredentials(self, permissions)


class NarrowedCredentials(Credentials):
    """Of a view; what they show is made from what those show that they were made from.

    Args:
        base: Those.
        permissions: Of the view.
    """

    def __init__(self, base: Credentials, permissions: Permissions) -> None:
        self._base = base
        self._added = permissions
        self._now = base._now
        self._made: tuple[str, str] | None = None

    @property
    def permissions(self) -> tuple[Permissions, ...]:  # type: ignore[override] # The base may learn its own later.
        """Sets of which each has to allow what is done."""
        return (*self._base.permissions, self._added)

    def grant(self) -> str | None:
        """Return what to show with a call that leaves now."""
        wide, made = self._base.grant(), self._made
        if wide is None:
            return None
        if made is None or made[0] is not wide:
            made = self._made = (wide, narrow(wide, self._added))
        return made[1]

    def lasting(self, until_s: float) -> str | None:
        """Return a grant until then."""
        wide = self._base.lasting(until_s)
        return None if wide is None else narrow(wide, self._added)
