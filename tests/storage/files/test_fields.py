"""The fields of documents: alike, nearly alike, and all different."""

import gc
import random
from typing import Any

import pytest

from parquedb.storage.files.fields import by_name, no_collection

NAMES = [f"n{number}" for number in range(8)]


def one_by_one(documents: list[dict[str, Any]]) -> dict[str, list[tuple[int, Any]]]:
    found: dict[str, list[tuple[int, Any]]] = {}
    for at, document in enumerate(documents):
        for name, value in document.items():
            found.setdefault(name, []).append((at, value))
    return found


def together(documents: list[dict[str, Any]]) -> dict[str, list[tuple[int, Any]]]:
    found = {}
    for name, values, at in by_name(documents):
        assert at is None or len(at) < len(documents), "a field that all have needs no positions"
        found[name] = list(zip(range(len(documents)) if at is None else at, values, strict=True))
    return found


@pytest.mark.parametrize("share", [1.0, 0.97, 0.5, 0.05])
@pytest.mark.parametrize("count", [0, 1, 7, 3000])
def test_every_value_of_every_field_is_found_at_its_document(share: float, count: int) -> None:
    rng = random.Random(f"{share} {count}")
    documents = [
        {name: (at, name) for name in rng.sample(NAMES, len(NAMES)) if rng.random() < share} for at in range(count)
    ]
    found = together(documents)
    assert found == one_by_one(documents)
    assert list(found) == list(one_by_one(documents)), "in the order in which they appear"


def test_documents_with_one_name_that_some_lack() -> None:
    assert together([{"a": 1}, {}, {"a": None}]) == {"a": [(0, 1), (2, None)]}


def test_the_collector_of_garbage_runs_again_after_the_last_pause() -> None:
    assert gc.isenabled()
    with no_collection():
        with no_collection():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()
    gc.disable()
    try:
        with no_collection():
            pass
        assert not gc.isenabled(), "whoever had it off keeps it off"
    finally:
        gc.enable()
