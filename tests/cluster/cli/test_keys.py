"""`parquedb keys`: what it prints, and what of it a program can use."""

import io
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
import typer
from rich.console import Console

from parquedb.cluster.cli.keys import KeysCommand
from parquedb.cluster.cli.main import main
from parquedb.cluster.cli.options import period
from parquedb.cluster.gateway.access.api_key_text import read_key
from parquedb.cluster.gateway.access.api_keys import ApiKeys
from parquedb.errors import EntityNotFoundError, InvalidInputError
from tests.support.key_database import KeyDatabase


@pytest.fixture
async def keys() -> AsyncIterator[ApiKeys]:
    database = KeyDatabase()
    yield ApiKeys(database)
    await database.close()


async def said(keys: ApiKeys, action: str, *arguments: Any, as_json: bool = False, **options: Any) -> tuple[str, str]:
    """Return what the command wrote to standard output and to standard error."""
    out, notices = io.StringIO(), io.StringIO()
    command = KeysCommand(keys, as_json, Console(file=out, width=200), Console(file=notices, width=200))
    await getattr(command, action)(*arguments, **options)
    return out.getvalue(), notices.getvalue()


async def test_an_issued_key_stands_alone_on_standard_output(keys: ApiKeys) -> None:
    out, notices = await said(keys, "issue", "billing", ["read:orders", "find:logs"], expires_in=period("90d"))
    key = read_key(out.removesuffix("\n"))
    [record] = await keys.list()
    assert key is not None
    assert key.id == record.id
    assert record.permissions.entries == ("find:logs", "read:orders")
    assert record.expires == record.created + timedelta(days=90)
    assert "shown this once" in notices
    assert key.text not in notices


async def test_a_list_shows_every_state_and_no_secret(keys: ApiKeys) -> None:
    text = (await said(keys, "issue", "[odd] name", ["*:*"]))[0].strip()
    await said(keys, "issue", "gone", ["read:x"])
    [gone] = [one for one in await keys.list() if one.name == "gone"]
    assert "is revoked" in (await said(keys, "revoke", gone.id))[0]
    out, _ = await said(keys, "list")
    assert "[odd] name" in out
    assert "valid" in out
    assert "revoked 2" in out
    assert text[20:] not in out
    listed = json.loads((await said(keys, "list", as_json=True))[0])
    assert {one["name"]: one["revoked"] is None for one in listed} == {"[odd] name": True, "gone": False}
    assert text[20:] not in json.dumps(listed)


async def test_a_rotated_key_is_printed_and_the_old_one_ends(keys: ApiKeys) -> None:
    first = json.loads((await said(keys, "issue", "a", ["read:x"], requests_max=5, as_json=True))[0])
    second = json.loads((await said(keys, "rotate", first["id"], overlap=period("0s"), as_json=True))[0])
    assert read_key(second["key"]) is not None
    assert second["requests_max"] == 5
    assert "expired" in (await said(keys, "list"))[0]


@pytest.mark.parametrize(
    ("words", "kind"),
    [(["issue", "a", ["fly:x"]], InvalidInputError), (["revoke", "0" * 16], EntityNotFoundError)],
)
async def test_what_cannot_be_done_is_an_error(keys: ApiKeys, words: list[Any], kind: type[Exception]) -> None:
    with pytest.raises(kind):
        await said(keys, *words)


def test_periods_have_units() -> None:
    assert [period(text) for text in ("5s", "2m", "3h", "4d")] == [
        timedelta(seconds=5),
        timedelta(minutes=2),
        timedelta(hours=3),
        timedelta(days=4),
    ]
    for text in ("", "5", "d", "-1d", "1w", "1.5d", "9999999d"):
        with pytest.raises(typer.BadParameter, match="expected a number and a unit"):
            period(text)


WRONG: list[list[str]] = [
    [],
    ["issue"],
    ["issue", "a"],
    ["revoke"],
    ["list", "--overlap", "1d"],
    ["rotate", "x", "--overlap", "1w"],
]


@pytest.mark.parametrize("words", WRONG, ids=" ".join)
def test_a_wrong_command_line_is_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keys", *words]) == 2
    assert "usage: parquedb keys" in capsys.readouterr().err
