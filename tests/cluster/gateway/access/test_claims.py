from typing import Any

import pytest

from parquedb.access.permissions import Permissions
from parquedb.cluster.gateway.access.claims import principal_of, tenant_permissions
from parquedb.errors import AuthenticationRequiredError
from parquedb.settings.access import AccessSettings
from tests.support.tokens import claims


def permissions(settings: dict[str, Any] | None = None, **changes: Any) -> Permissions:
    return principal_of(claims(**changes), AccessSettings(**(settings or {}))).permissions


def test_a_token_without_permissions_may_do_nothing() -> None:
    assert permissions(permissions=None) == Permissions()
    assert permissions(permissions=[]) == Permissions()


def test_a_scope_text_grants_what_in_it_is_a_permission() -> None:
    scoped = {"jwt_permissions_claim": "scope"}
    assert permissions(scoped, scope="openid read:orders profile email get:x") == Permissions(["read:orders", "get:x"])


@pytest.mark.parametrize(
    "entry", ["orders", "read:", "fly:orders", ":*", "READ:orders", "read\u200b:x", 7, None, ["*:*"], "*"]
)
def test_what_is_no_permission_grants_nothing(entry: object) -> None:
    assert permissions(permissions=[entry, "read:a"]) == Permissions(["read:a"])


TENANTS = {"jwt_tenant_claim": "tenant"}


def test_a_tenant_gets_the_namespaces_of_its_name() -> None:
    granted = permissions(TENANTS, permissions=None, tenant="acme")
    assert granted == Permissions(["*:acme-*"])
    assert granted.allows("create", "acme-orders")
    assert not granted.allows("get", "acmeorders")
    assert not granted.allows("get", "other-acme-orders")


def test_a_tenant_adds_to_other_permissions_and_is_ignored_without_the_setting() -> None:
    assert permissions(TENANTS, tenant="acme", permissions=["read:x"]) == Permissions(["read:x", "*:acme-*"])
    assert permissions(tenant="acme", permissions=["read:x"]) == Permissions(["read:x"])


@pytest.mark.parametrize(
    "tenant",
    [
        "",
        "*",
        "a*",
        "a-b",
        "-a",
        ".a",
        "_a",
        "a b",
        "a:b",
        "a/b",
        "\u0430cme",
        "a\n",
        "a" * 65,
        None,
        7,
        ["a"],
        "{tenant}",
    ],
)
def test_the_name_of_a_tenant_cannot_leave_its_pattern(tenant: object) -> None:
    with pytest.raises(AuthenticationRequiredError):
        permissions(TENANTS, permissions=None, tenant=tenant) if tenant is not None else tenant_permissions(
            None, ("*:{tenant}-*",)
        )


def test_a_tenant_with_dashes_needs_another_end_of_its_name() -> None:
    assert tenant_permissions("a-b", ("*:{tenant}.*",)) == ["*:a-b.*"]
    with pytest.raises(AuthenticationRequiredError):
        tenant_permissions("a.b", ("*:{tenant}.*",))
    with pytest.raises(AuthenticationRequiredError):
        tenant_permissions("a-b", ("read:x-{tenant}",))


def test_no_two_tenants_share_a_namespace() -> None:
    names = ["a", "b", "ab", "a_b", "a.b", "abc", "b.a"]
    namespaces = [f"{name}-{rest}" for name in names for rest in ("", "x", "b-x", "a")]
    for namespace in namespaces:
        owners = [
            name for name in names if Permissions(tenant_permissions(name, ("*:{tenant}-*",))).allows("get", namespace)
        ]
        assert owners == [namespace.partition("-")[0]]


@pytest.mark.parametrize(
    "template", ["*:*", "*:{tenant}*", "*:*{tenant}", "{tenant}:x", "*:{tenant}-{tenant}", "{tenant}"]
)
def test_a_template_that_would_mix_tenants_is_refused(template: str) -> None:
    with pytest.raises(ValueError, match="no star beside it"):
        AccessSettings(jwt_tenant_permissions=(template,))
