"""Schemas through the clients on a real Ray: sync, async, and the bare actor handle."""

from pathlib import Path
from uuid import uuid4

import pytest
import ray
from pydantic import BaseModel

import parquedb
from parquedb.errors import SchemaMismatchError, ValidationError


class User(BaseModel):
    email: str
    age: int = 0


@pytest.fixture
def url(ray_cluster: str, tmp_path: Path) -> str:
    return str(tmp_path / uuid4().hex)


def test_a_model_registered_by_one_client_binds_every_other(url: str) -> None:
    with parquedb.connect(url) as db, parquedb.connect(url) as other:
        users = db.collection("users")
        assert users.schema() is None
        made = users.register(User)
        assert (made.version, made.seq, made.mode, made.schema.name) == (1, 1, "permissive", "User")
        assert other.schema("users") == made
        with pytest.raises(ValidationError) as caught:
            other.create("users", {"email": 1})
        assert (caught.value.field, caught.value.expected, caught.value.actual) == ("email", "string", "int")
        # Without an id they travel as one; with one, each for itself. Either comes back with its default.
        assert other.create("users", {"email": "x"})["age"] == 0
        assert other.create("users", {"email": "y"}, id="y")["age"] == 0
        assert other.replace("users", "y", {"email": "z"})["age"] == 0
        assert [type(one) for one in users.create_many([{"email": "a"}, {"email": 1}], ordered=False)] == [
            str,
            ValidationError,
        ]
        with pytest.raises(SchemaMismatchError, match="age: int cannot become string"):
            db.register("users", {"email": "string!", "age": "string"})
        assert db.register("users", {"email": "string!", "age": "float = 0"}).versions == (
            (1, 1, "permissive"),
            (2, 6, "permissive"),
        )


async def test_coroutines_and_the_bare_handle_do_the_same(url: str) -> None:
    adb = await parquedb.connect_async(url)
    async with adb:
        users = adb.collection("users")
        assert (await users.register({"email": "string!", "age": "int = 3"}, mode="strict")).mode == "strict"
        assert (await users.create({"email": "x"}))["age"] == 3
        handle = users.actor
        with pytest.raises(ValidationError, match="'z': expected no field of this name, got int"):
            await handle.create.remote({"email": "x", "z": 1})
        assert (await handle.schema.remote())["version"] == 1
        assert (await handle.register.remote({"email": "string", "age": "int"}, mode="strict"))["version"] == 2
        [answer] = await handle.execute.remote([{"op": "schema"}])
        assert answer["value"]["version"] == 2
        assert (await users.schema()).version == 2
        assert ray.is_initialized()
