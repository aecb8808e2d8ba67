"""Who may read whose requests."""

from dataclasses import dataclass
from typing import Any, Final, Literal

from parquedb.errors import InvalidInputError, PermissionDeniedError

ALL_TENANTS: Final = "*"
"""Asks for the requests of every tenant."""

AllTenants = Literal["*"]


@dataclass(frozen=True, slots=True)
class TenantScope:
    """The tenant that a view reads for.

    Attributes:
        tenant: Its own; None for requests that were recorded without one.
        allow_cross_tenant: Whether it may read those of others; then it reads all unless told otherwise.
    """

    tenant: str | None = None
    allow_cross_tenant: bool = False

    def __post_init__(self) -> None:
        """Check the tenant.

        Raises:
            InvalidInputError: it is the name that stands for all tenants: whoever may choose his own must not get them.
        """
        if self.tenant == ALL_TENANTS:
            raise InvalidInputError(
                f"tenant: {ALL_TENANTS!r} stands for all tenants and is nobody's name: expected a tenant, or None with "
                "allow_cross_tenant=True",
                field="tenant",
            )

    def condition(self, wanted: str | None) -> dict[str, Any]:
        """Return the part of a filter that keeps to a tenant, to the view's own when None is wanted.

        Raises:
            PermissionDeniedError: another tenant's requests, or everybody's, are wanted and not allowed.
        """
        if wanted is None:
            wanted = ALL_TENANTS if self.allow_cross_tenant and self.tenant is None else self.tenant
        elif wanted != self.tenant and not self.allow_cross_tenant:
            raise PermissionDeniedError(
                f"this view reads for {self._own()}, and may not read {self._other(wanted)}: expected "
                "allow_cross_tenant=True",
                tenant=wanted,
            )
        return {} if wanted == ALL_TENANTS else {"tenant": wanted}

    def _own(self) -> str:
        return "requests without a tenant" if self.tenant is None else f"tenant {self.tenant!r}"

    @staticmethod
    def _other(wanted: str) -> str:
        return "those of all tenants" if wanted == ALL_TENANTS else f"those of tenant {wanted!r}"
