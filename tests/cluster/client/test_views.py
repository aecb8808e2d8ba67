"""Views of a database: the same one for equal permissions, and only so many."""

import parquedb
from parquedb.access.permissions import Permissions
from parquedb.cluster.client.ray_connection import RayConnection
from parquedb.cluster.client.views import VIEW_LINKS_MAX, VIEWS_MAX, Views, make_room
from parquedb.settings.environment import load_settings


def test_equal_permissions_get_the_same_view_whatever_their_order() -> None:
    views = Views(lambda permissions: [permissions])
    first = views.of(["read:a", "write:b"])
    assert views.of(Permissions(["write:b", "read:a"])) is first
    assert views.of(["read:a"]) is not first


def test_only_the_views_used_last_are_kept() -> None:
    views = Views(lambda permissions: [permissions])
    first, second = views.of(["read:n0"]), views.of(["read:n1"])
    for number in range(2, VIEWS_MAX + 1):
        views.of([f"read:n{number}"])
        views.of(["read:n0"])
    assert len(views) == VIEWS_MAX
    assert views.of(["read:n0"]) is first
    assert views.of(["read:n1"]) is not second


def test_a_view_keeps_ways_to_only_so_many_namespaces() -> None:
    links = {str(number): object() for number in range(VIEW_LINKS_MAX)}
    make_room(links)
    links["new"] = object()
    assert len(links) == VIEW_LINKS_MAX
    assert "0" not in links


def test_closing_a_view_closes_nothing_else() -> None:
    db = parquedb.Database(RayConnection(load_settings("memory://views")))
    view = db.acting_for(["read:*"])
    view.close()
    assert not db._connection.closed
    assert db.acting_for(["read:*"]) is view
    db.close()
    assert view._connection.closed
