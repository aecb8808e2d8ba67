"""From the claims of a token to who that is and what it may do."""

import re
from collections.abc import Mapping
from typing import Any, Final

from parquedb.access.permissions import PERMISSIONS_MAX, Permissions
from parquedb.access.principal import Principal
from parquedb.errors import AuthenticationRequiredError, InvalidInputError
from parquedb.settings.access import TENANT, TENANT_CHARACTERS, AccessSettings

SUBJECT_CHARS_MAX: Final = 256
TENANT_CHARS_MAX: Final = 64
_TENANT: Final = re.compile(rf"[A-Za-z0-9][{TENANT_CHARACTERS}]{{0,{TENANT_CHARS_MAX - 1}}}")
_ONE_TENANT_CHARACTER: Final = re.compile(f"[{TENANT_CHARACTERS}]")


def principal_of(claims: Mapping[str, Any], settings: AccessSettings) -> Principal:
    """Return the caller that a verified token speaks of.

    Entries of the permissions claim that are no permissions (`openid` in a `scope`) grant nothing.

    Raises:
        AuthenticationRequiredError: no usable name, too many permissions, or the name of a tenant that could be
            mistaken for another one's.
    """
    subject = claims.get(settings.jwt_subject_claim)
    # Names are compared as they are, never folded: one that merely looks like another is somebody else.
    if not isinstance(subject, str) or not 0 < len(subject) <= SUBJECT_CHARS_MAX or not subject.isprintable():
        raise _refusal(f"{settings.jwt_subject_claim} must be printable text of 1 to {SUBJECT_CHARS_MAX} characters")
    granted = claims.get(settings.jwt_permissions_claim, ())
    if isinstance(granted, str):
        granted = granted.split()
    if not isinstance(granted, list | tuple) or len(granted) > PERMISSIONS_MAX:
        raise _refusal(f"{settings.jwt_permissions_claim} must be a list of at most {PERMISSIONS_MAX} permissions")
    entries = [entry for entry in granted if isinstance(entry, str) and is_permission(entry)]
    if settings.jwt_tenant_claim is not None and settings.jwt_tenant_claim in claims:
        entries += tenant_permissions(claims[settings.jwt_tenant_claim], settings.jwt_tenant_permissions)
    return Principal(subject, Permissions(entries), "jwt", expires_s=float(claims["exp"]))


def tenant_permissions(tenant: object, templates: tuple[str, ...]) -> list[str]:
    """Return the templates with the name of a tenant put in.

    Of `*:{tenant}-*`, a tenant `a-b` would own namespaces that also belong to `a`. So the characters beside the name in
    a template may not be in the name.

    Raises:
        AuthenticationRequiredError: the name is none, or has such a character in it; stars never pass.
    """
    if not isinstance(tenant, str) or not _TENANT.fullmatch(tenant):
        raise _refusal(f"a tenant is named by 1 to {TENANT_CHARS_MAX} letters, digits, dots, dashes and underscores")
    for template in templates:
        before, _, after = template.partition(TENANT)
        for limit in (before.rpartition(":")[2][-1:], after[:1]):
            if limit and _ONE_TENANT_CHARACTER.fullmatch(limit) and limit in tenant:
                raise _refusal(f"the name of a tenant may not hold {limit!r}, which ends it in names of namespaces")
    return [template.replace(TENANT, tenant) for template in templates]


def is_permission(entry: str) -> bool:
    """Whether a text is a permission; one that is not grants nothing."""
    try:
        Permissions([entry])
    except InvalidInputError:
        return False
    return True


def _refusal(reason: str) -> AuthenticationRequiredError:
    return AuthenticationRequiredError(f"the token is not valid: {reason}")
