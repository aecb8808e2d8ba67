"""Documents through typed columns and back."""

from datetime import UTC, date, datetime
from decimal import Decimal
from uuid import UUID

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parquedb.storage.files import residual
from parquedb.storage.files.columns import DEPTH_MAX, PATHS_MAX, ColumnRegistry
from parquedb.storage.files.data_file import write_table
from parquedb.storage.files.shred import shred, unshred, unshred_columns, unshred_rows
from tests.support.columns import all_exactly, bodies, document, exactly, values


def rows_of(*parts, start=0):
    return [(document(body, start + number), 100 + number) for number, body in enumerate(parts)]


def shredded(*parts, registry=None):
    rows = rows_of(*parts)
    table, registry = shred(rows, registry or ColumnRegistry.empty())
    assert all_exactly(unshred(table)) == all_exactly([one for one, _ in rows])
    return table, registry


def residuals(table):
    return table.column("$residual").to_pylist()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(bodies, min_size=1, max_size=9), min_size=1, max_size=3))
def test_every_document_comes_back_exactly_through_parquet_whatever_was_registered_before(batches):
    registry = ColumnRegistry.empty()
    for batch in batches:
        rows = rows_of(*batch)
        table, grown = shred(rows, registry)
        assert ColumnRegistry.from_wire(grown.to_wire()) == grown
        assert all(grown.columns[name] == kind for name, kind in registry.columns.items() if type(kind) is str)
        read = pq.read_table(pa.BufferReader(write_table(table, sorted_by_id=True)))
        assert all_exactly(unshred(read)) == all_exactly([one for one, _ in rows])
        assert [seq for _, seq in unshred_rows(read)] == [seq for _, seq in rows]
        columns = {name: read.column(name).combine_chunks() for name in read.column_names}
        picked = list(reversed(range(len(rows))))
        expected = all_exactly([rows[at][0] for at in picked])
        assert all_exactly(unshred_columns(columns, len(rows), picked)) == expected
        registry = grown


@given(st.dictionaries(st.sampled_from(["$date", "$lit", "x", ""]), values, max_size=3))
def test_a_residual_gives_back_what_it_was_given(leftover):
    assert exactly(residual.decode(residual.encode(leftover))) == exactly(leftover)


def test_a_residual_with_an_unknown_tag_is_refused_by_name():
    with pytest.raises(ValueError, match="unknown tag '\\$nope'"):
        residual.decode('{"a":{"$nope":1}}')


def test_plain_documents_become_plain_columns_and_no_residual():
    body = {
        "n": 1, "f": 1.5, "s": "x", "b": True, "t": datetime(2026, 1, 1, tzinfo=UTC), "d": date(2026, 1, 1),
        "raw": b"x", "u": UUID(int=7), "tags": ["a"], "w": {"temp": 1.0, "in": {"deep": 2}},
    }  # fmt: skip
    table, _ = shredded(body, body)
    assert table.column_names == [
        "$id", "$seq", "version", "createdAt", "updatedAt",
        "n", "f", "s", "b", "t", "d", "raw", "u", "tags", "w", "$residual",
    ]  # fmt: skip
    kinds = {field.name: str(field.type) for field in table.schema}
    assert kinds["$id"] == "string"
    assert kinds["createdAt"] == kinds["t"] == "timestamp[us, tz=UTC]"
    assert kinds["n"] == kinds["$seq"] == kinds["version"] == "int64"
    assert kinds["u"] == "fixed_size_binary[16]"
    assert kinds["w"] == "struct<temp: double, in: struct<deep: int64>>"
    assert residuals(table) == [None, None]


def test_a_path_keeps_its_first_type_in_later_batches():
    _, registry = shredded({"n": 1})
    table, grown = shredded({"n": 2.5}, {"n": 3}, registry=registry)
    assert grown is registry
    assert table.column("n").to_pylist() == [None, 3]
    assert residuals(table) == ['{"n":2.5}', None]


def test_the_commonest_type_of_the_first_batch_wins():
    table, registry = shredded({"price": 10}, {"price": 10.5}, {"price": 11.5})
    assert registry.columns["price"] == "float"
    assert residuals(table) == ['{"price":10}', None, None]


def test_missing_null_empty_dict_and_empty_list_stay_four_things():
    table, _ = shredded({"w": {"x": 1}, "l": [1]}, {}, {"w": None, "l": None}, {"w": {}, "l": []})
    assert residuals(table) == [None, None, '{"w":null,"l":null}', None]
    assert table.column("w").is_valid().to_pylist() == [True, False, False, True]


def test_a_dict_that_shows_no_column_stays_whole():
    table, registry = shredded({"w": {"x": None}}, {"w": {}})
    assert "w" not in registry.columns
    assert residuals(table) == ['{"w":{"x":null}}', '{"w":{}}']


def test_a_struct_of_only_unusual_members_still_tells_that_it_is_there():
    _, registry = shredded({"w": {"x": 1}})
    table, _ = shredded({"w": {"x": None}}, {}, {"w": {"y": Decimal(1)}}, registry=registry)
    assert table.column("w").to_pylist() == [{"x": None}, None, {"x": None}]
    assert residuals(table) == ['{"w":{"x":null}}', None, '{"w":{"y":{"$dec":"1"}}}']


def test_a_struct_grows_by_later_batches():
    _, first = shredded({"w": {"x": 1}})
    _, second = shredded({"w": {"y": {"z": "s"}}}, registry=first)
    assert first.columns["w"] == {"x": "int"}
    assert second.columns["w"] == {"x": "int", "y": {"z": "str"}}
    assert second.paths == 4


@pytest.mark.parametrize("name", ["", "x.y", "a\nb", "n" * 300])
def test_a_name_that_no_column_can_have_goes_to_the_residual(name):
    _, registry = shredded({"w": {name: 1, "ok": 2}})
    assert registry.columns["w"] == {"ok": "int"}


def test_names_that_differ_only_in_case_do_not_share_a_struct_or_a_file():
    _, registry = shredded({"a": 1, "A": 2, "Version": 3, "w": {"k": 1, "K": 2}})
    assert set(registry.columns) - set(ColumnRegistry.empty().columns) == {"a", "w"}
    assert registry.columns["w"] == {"k": "int"}


def test_past_the_most_paths_further_fields_go_to_the_residual():
    table, registry = shredded({f"f{number}": number for number in range(PATHS_MAX + 5)})
    assert registry.paths == PATHS_MAX
    assert residuals(table) == ['{"f1000":1000,"f1001":1001,"f1002":1002,"f1003":1003,"f1004":1004}']
    _, again = shredded({"w": {"x": 1}, "f0": 1}, registry=registry)
    assert again is registry


def test_dicts_nested_too_deep_stay_whole_from_there():
    nested = {"v": 1}
    for _ in range(DEPTH_MAX + 3):
        nested = {"v": 1, "n": nested}
    table, _ = shredded({"w": nested})
    depth, kind = 0, table.schema.field("w").type
    while pa.types.is_struct(kind):
        depth, kind = depth + 1, kind.field("n").type if kind.get_field_index("n") >= 0 else None
        if kind is None:
            break
    assert depth == DEPTH_MAX - 1
    assert residuals(table)[0].count('"n"') > depth


def test_many_rows_of_one_shape_and_of_many_shapes_come_back():
    shredded(*[{"n": number, "s": f"s{number}", "w": {"x": number}} for number in range(3_000)])
    shredded(*[{f"f{number % 7}": number, f"g{number % 11}": {"x": [number]}} for number in range(3_000)])


def test_system_fields_have_their_type_from_the_beginning():
    _, registry = shredded({"deletedBy": "u", "createdBy": None})
    assert registry.paths == 0
    assert registry.columns["deletedBy"] == "str"
