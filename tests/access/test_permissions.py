"""Permissions: what each form of entry allows, and that everything else is denied."""

import pytest

from parquedb.access.permissions import ALL, EVERYTHING, OPERATIONS, PERMISSIONS_MAX, READ, WRITE, Permissions
from parquedb.errors import InvalidInputError, PermissionDeniedError


def test_no_permissions_allow_nothing() -> None:
    assert not any(Permissions().allows(operation, "orders") for operation in OPERATIONS)


@pytest.mark.parametrize(
    ("entry", "operation", "namespace", "allowed"),
    [
        ("read:orders", "get", "orders", True),
        ("read:orders", "create", "orders", False),
        ("read:orders", "get", "orders2", False),
        ("read:orders", "get", "Orders", False),
        ("read:orders", "namespaces", "", False),
        ("write:tenant-a-*", "update", "tenant-a-7", True),
        ("write:tenant-a-*", "update", "tenant-ab", False),
        ("write:tenant-a-*", "update", "x-tenant-a-7", False),
        ("find:a.b", "find", "a.b", True),
        ("find:a.b", "find", "axb", False),
        ("find:a.b", "get", "a.b", False),
        ("*:*", "metrics", "", True),
        ("admin:*", "health", "", True),
        ("admin:orders", "health", "", False),
        ("read:a:b", "get", "a:b", True),
        ("read:*-x-*", "get", "1-x-2", True),
        ("read:*-x-*", "get", "-x-", True),
        ("read:*-x-*", "get", "-x", False),
        ("read:a*a", "get", "a", False),
        ("read:a*b*c", "get", "abc", True),
        ("read:a*b*c", "get", "acb", False),
        ("read:a.*", "get", "ab", False),
    ],
)
def test_an_entry_allows_its_operations_where_its_pattern_fits(
    entry: str, operation: str, namespace: str, allowed: bool
) -> None:
    assert Permissions([entry]).allows(operation, namespace) is allowed


def test_permissions_add_up_and_cross_nothing() -> None:
    permissions = Permissions(["read:a", "write:b"])

    assert permissions.allows("get", "a")
    assert permissions.allows("create", "b")
    assert not permissions.allows("get", "b")
    assert not permissions.allows("create", "a")


def test_a_refusal_names_the_operation_and_the_namespace() -> None:
    with pytest.raises(PermissionDeniedError, match=r"^create on 'orders' is not allowed$") as refused:
        Permissions(["read:*"]).check("create", "orders")

    assert refused.value.http_status == 403


@pytest.mark.parametrize("entry", ["", "orders", "read:", "fly:orders", ":orders", "read:" + "x" * 257, None, 7])
def test_what_is_no_permission_is_refused(entry: str) -> None:
    with pytest.raises(InvalidInputError, match=r"is no permission; expected <action>:<pattern>"):
        Permissions([entry])


def test_the_number_of_permissions_is_limited() -> None:
    with pytest.raises(InvalidInputError, match="1001 permissions; 1000 is the most"):
        Permissions(f"read:n{number}" for number in range(PERMISSIONS_MAX + 1))


@pytest.mark.timeout(5)
def test_a_pattern_of_many_stars_is_answered_at_once() -> None:
    assert not Permissions(["read:" + "a*" * 100 + "b"]).allows("get", "a" * 128)


def test_equal_sets_are_equal_whatever_their_order() -> None:
    assert Permissions(["read:a", "read:b"]) == Permissions(["read:b", "read:a", "read:a"])
    assert len({Permissions([ALL]), Permissions([ALL])}) == 1


def test_groups_share_no_operation() -> None:
    assert not READ & WRITE


@pytest.mark.parametrize("pattern", ["*", "**", "*api-keys", "*$*", "*-keys"])
def test_no_star_begins_a_name_that_the_database_keeps_for_itself(pattern: str) -> None:
    assert not Permissions([f"*:{pattern}"]).allows("create", "$api-keys")


@pytest.mark.parametrize("pattern", ["$api-keys", "$*", "$api*", "$*-keys"])
def test_such_a_name_is_allowed_by_a_pattern_that_names_it(pattern: str) -> None:
    permissions = Permissions([f"read:{pattern}"])
    assert permissions.allows("get", "$api-keys")
    assert not permissions.allows("create", "$api-keys")
    assert not permissions.allows("get", "api-keys")


def test_the_services_of_the_database_may_do_everything() -> None:
    permissions = Permissions(EVERYTHING)
    for operation in OPERATIONS:
        for namespace in ("", "orders", "$api-keys"):
            assert permissions.allows(operation, namespace)
