"""`parquedb keys`: what it prints, and what of it a program can use."""

import io
import json
import re
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from rich.console import Console

from parquedb.cluster.cli.keys import KeysCommand
from parquedb.cluster.cli.keys_options import period
from parquedb.cluster.cli.main import parser
from parquedb.cluster.gateway.access.api_key_text import read_key
from parquedb.cluster.gateway.access.api_keys import ApiKeys
from parquedb.errors import EntityNotFoundError, InvalidInputError
from tests.support.key_database import KeyDatabase


@pytest.fixture
async def keys() -> AsyncIterator[ApiKeys]:
    database = KeyDatabase()
    yield ApiKeys(database)
    await database.close()


async def said(keys: ApiKeys, *words: str) -> tuple[str, str]:
    """Return what the command wrote to standard output and to standard error."""
    out, notices = io.StringIO(), io.StringIO()
    command = KeysCommand(
        parser().parse_args(["keys", *words]), Console(file=out, width=200), Console(file=notices, width=200)
    )
    await command.act(keys)
    return out.getvalue(), notices.getvalue()


async def test_an_issued_key_stands_alone_on_standard_output(keys: ApiKeys) -> None:
    out, notices = await said(keys, "issue", "billing", "read:orders", "find:logs", "--expires-in", "90d")
    key = read_key(out.removesuffix("\n"))
    [record] = await keys.list()
    assert key is not None
    assert key.id == record.id
    assert record.permissions.entries == ("find:logs", "read:orders")
    assert record.expires == record.created + timedelta(days=90)
    assert "shown this once" in notices
    assert key.text not in notices


async def test_a_list_shows_every_state_and_no_secret(keys: ApiKeys) -> None:
    text = (await said(keys, "issue", "[odd] name", "*:*"))[0].strip()
    await said(keys, "issue", "gone", "read:x")
    [gone] = [one for one in await keys.list() if one.name == "gone"]
    assert "is revoked" in (await said(keys, "revoke", gone.id))[0]
    out, _ = await said(keys, "list")
    assert "[odd] name" in out
    assert "valid" in out
    assert "revoked 2" in out
    assert text[20:] not in out
    listed = json.loads((await said(keys, "list", "--json"))[0])
    assert {one["name"]: one["revoked"] is None for one in listed} == {"[odd] name": True, "gone": False}
    assert text[20:] not in json.dumps(listed)


async def test_a_rotated_key_is_printed_and_the_old_one_ends(keys: ApiKeys) -> None:
    first = json.loads((await said(keys, "issue", "a", "read:x", "--requests", "5", "--json"))[0])
    second = json.loads((await said(keys, "rotate", first["id"], "--overlap", "0s", "--json"))[0])
    assert read_key(second["key"]) is not None
    assert second["requests_max"] == 5
    assert "expired" in (await said(keys, "list"))[0]


@pytest.mark.parametrize(
    ("words", "kind"),
    [(["issue", "a", "fly:x"], InvalidInputError), (["revoke", "0" * 16], EntityNotFoundError)],
)
async def test_what_cannot_be_done_is_an_error(keys: ApiKeys, words: list[str], kind: type[Exception]) -> None:
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
        with pytest.raises(ValueError, match=re.escape(text) or "^$"):
            period(text)


@pytest.mark.parametrize("words", [[], ["issue"], ["issue", "a"], ["revoke"], ["list", "--overlap", "1d"]])
def test_a_wrong_command_line_is_refused(words: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        parser().parse_args(["keys", *words])
    assert stopped.value.code == 2
    assert "usage: parquedb" in capsys.readouterr().err
