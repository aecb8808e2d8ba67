"""Whatever documents there are, a file of them brings them back exactly."""

import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from parquedb.actors.requests.operations import MANAGED
from parquedb.documents.values import normalize
from parquedb.errors import ValidationError
from tests.cluster.exchange.test_exchange import bare, exact
from tests.support.columns import bodies
from tests.support.local_database import LocalCollection, LocalDatabase


def storable(body: dict[str, Any]) -> bool:
    try:
        normalize(body)
    except ValidationError:
        return False
    return True


own_fields = bodies.map(lambda body: {name: body[name] for name in body.keys() - MANAGED})
some_documents = st.lists(own_fields.filter(storable), min_size=1, max_size=12)


def of(posts: LocalCollection) -> dict[str, Any]:
    with posts.snapshot() as held:
        return {one["$id"]: exact(bare(one)) for one in held.documents()}


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
@pytest.mark.parametrize("whole", [True, False], ids=["whole", "by query"])
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(documents=some_documents, flushed=st.integers(0, 12))
def test_a_file_brings_every_document_back(
    suffix: str, whole: bool, documents: list[dict[str, Any]], flushed: int
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        first, second = LocalDatabase(folder / "a"), LocalDatabase(folder / "b")
        try:
            posts, again = LocalCollection(first), LocalCollection(second)
            assert all(isinstance(answer, str) for answer in posts.create_many(documents[:flushed]))
            posts.flush()
            assert all(isinstance(answer, str) for answer in posts.create_many(documents[flushed:]))
            out = posts.export_file(folder / f"out.{suffix}", **({} if whole else {"sort": "a"}))
            assert out.rows == len(documents)
            assert again.import_file(out.path).rows == len(documents)
            assert of(again) == of(posts)
        finally:
            first.end()
            second.end()
