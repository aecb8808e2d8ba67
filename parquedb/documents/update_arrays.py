"""Update operators on arrays: `$push $addToSet $pop $pull $pullAll`, and on relationships: `$link $unlink`.

`$link` and `$unlink` work on fields that name other documents, `"<namespace>/<id>"`. A single reference goes into a
field that is missing or holds a str, and takes its place; into a list it is appended. A list of references is appended
to a list, or makes one. Nothing is linked twice. `$unlink` takes references out, `"$all"` every one; a field with a
single reference goes away with it, a list stays, perhaps empty.

Source: MongoDB manual, "Array Update Operators".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cmp_to_key
from typing import Any, Final

from parquedb.documents.comparison import MISSING, compare, equal
from parquedb.documents.filters import compile_filter, count_operands, has_value_operators, is_pattern, plain
from parquedb.documents.identity import identity
from parquedb.documents.paths import PathError, split_path
from parquedb.documents.update_errors import shown, wrong_operand, wrong_value
from parquedb.documents.update_tree import Change, Run
from parquedb.documents.values import normalize_value, type_name
from parquedb.errors import InvalidFilterError, InvalidUpdateError, ValidationError

ALL: Final = "$all"

_MODIFIERS: Final = frozenset({"$each", "$position", "$slice", "$sort"})


def push(text: str, operand: Any, depth: int, run: Run) -> tuple[Any, Change]:
    """`$push`: append a value, or `$each` of several at `$position`, then `$sort`, then `$slice`."""
    depth -= 1  # The array is a level itself.
    if not _has_modifiers(operand):
        value = normalize_value(operand, text, depth_max=depth)
        return value, lambda old: [*_array("$push", text, old), value]
    given = _modifiers(text, operand, depth)
    values, position, size = given["$each"], given.get("$position"), given.get("$slice")
    sort = _sorter(text, given["$sort"]) if "$sort" in given else None
    fields = len(given["$sort"]) if isinstance(given.get("$sort"), dict) else 1

    def change(old: Any) -> list[Any]:
        result = list(_array("$push", text, old))
        at = len(result) if position is None else position
        result[at:at] = values
        if sort is not None:
            run.step(len(result) * len(result).bit_length() * fields, split_path(text))
            result = sort(result)
        if size is None:
            return result
        return result[:size] if size >= 0 else result[size:]

    return given, change


def add_to_set(text: str, operand: Any, depth: int) -> tuple[Any, Change]:
    """`$addToSet`: append a value, or `$each` of several, unless an equal one is there."""
    depth -= 1  # The array is a level itself.
    if isinstance(operand, Mapping) and "$each" in operand:
        if operand.keys() != {"$each"}:
            raise wrong_operand("$addToSet", text, "nothing beside $each", ", ".join(map(str, operand)))
        values = _values("$addToSet", text, operand["$each"], depth)
        given: Any = {"$each": values}
    else:
        values = [normalize_value(operand, text, depth_max=depth)]
        given = values[0]

    def change(old: Any) -> list[Any]:
        result = list(_array("$addToSet", text, old))
        there = set(map(identity, result))
        for value in values:
            key = identity(value)
            if key not in there:
                there.add(key)
                result.append(value)
        return result

    return given, change


def pop(text: str, operand: Any) -> tuple[Any, Change]:
    """`$pop`: remove the last element (1) or the first (-1)."""
    if type(operand) not in {int, float} or operand not in {1, -1}:
        raise wrong_operand("$pop", text, "1 (the last element) or -1 (the first)", shown(operand))
    return operand, _shrinking("$pop", text, lambda items: items[:-1] if operand == 1 else items[1:])


def pull(text: str, operand: Any, depth: int, run: Run) -> tuple[Any, Change]:
    """`$pull`: remove elements that equal a value, meet a condition, or are dicts that match a filter."""
    if not isinstance(operand, Mapping) and not is_pattern(operand):
        value = normalize_value(operand, text, depth_max=depth)
        return value, _shrinking("$pull", text, lambda items: [item for item in items if not equal(item, value)])
    of_values = is_pattern(operand) or has_value_operators(operand)
    try:
        predicate = compile_filter({"element": operand} if of_values else operand)
        given = plain(operand)
    except (InvalidFilterError, ValidationError) as error:
        raise InvalidUpdateError(f"$pull {text!r}: {error.message}", operator="$pull", path=text) from error
    matches, operands = predicate.matches, count_operands(predicate.filter)

    def keep(items: list[Any]) -> list[Any]:
        run.step(len(items) * operands, split_path(text))
        if of_values:
            return [item for item in items if not matches({"element": item})]
        return [item for item in items if type(item) is not dict or not matches(item)]

    return given, _shrinking("$pull", text, keep)


def pull_all(text: str, operand: Any, depth: int) -> tuple[Any, Change]:
    """`$pullAll`: remove elements that equal one of the values."""
    values = _values("$pullAll", text, operand, depth)
    gone = frozenset(map(identity, values))
    return values, _shrinking("$pullAll", text, lambda items: [item for item in items if identity(item) not in gone])


def link(text: str, operand: Any) -> tuple[Any, Change]:
    """`$link`: see the module."""
    references = _references("$link", text, operand)
    single = isinstance(operand, str)

    def change(old: Any) -> Any:
        if single and (old is MISSING or type(old) is str):
            return operand
        result: list[Any] = []
        if type(old) is list:
            result += old
        elif old is not MISSING:
            raise wrong_value("$link", text, "a list or a str" if single else "a list", old)
        result.extend(one for one in dict.fromkeys(references) if one not in result)
        return result

    return operand if single else references, change


def unlink(text: str, operand: Any) -> tuple[Any, Change]:
    """`$unlink`: see the module."""
    given = operand if operand == ALL else _references("$unlink", text, operand)
    references = None if operand == ALL else frozenset(given)

    def change(old: Any) -> Any:
        if old is MISSING:
            return MISSING
        if type(old) is str:
            return MISSING if references is None or old in references else old
        if type(old) is not list:
            raise wrong_value("$unlink", text, "a list or a str", old)
        return [] if references is None else [one for one in old if type(one) is not str or one not in references]

    return operand if isinstance(operand, str) else given, change


def _shrinking(op: str, text: str, keep: Callable[[list[Any]], list[Any]]) -> Change:
    def change(old: Any) -> Any:
        return MISSING if old is MISSING else keep(_array(op, text, old))

    return change


def _array(op: str, text: str, old: Any) -> list[Any]:
    if old is MISSING:
        return []
    if type(old) is not list:
        raise wrong_value(op, text, "an array", old)
    return old


def _has_modifiers(operand: Any) -> bool:
    return isinstance(operand, Mapping) and any(isinstance(key, str) and key in _MODIFIERS for key in operand)


def _modifiers(text: str, operand: Mapping[str, Any], depth: int) -> dict[str, Any]:
    unknown = [key for key in operand if key not in _MODIFIERS]
    if unknown or "$each" not in operand:
        actual = shown(unknown[0]) if unknown else "no $each"
        raise wrong_operand("$push", text, "$each with $position, $slice and $sort", actual)
    given = {**operand, "$each": _values("$push", text, operand["$each"], depth)}
    for name in ("$position", "$slice"):
        if name in given and type(given[name]) is not int:
            raise wrong_operand("$push", text, f"an int as {name}", type_name(given[name]))
    if isinstance(given.get("$sort"), Mapping):
        given["$sort"] = dict(given["$sort"])
    return given


def _sorter(text: str, spec: Any) -> Callable[[list[Any]], list[Any]]:
    """Return what sorts an array: by whole elements (1, -1), or by fields of dicts, several in their order."""
    if type(spec) is int and spec in {1, -1}:
        return lambda items: sorted(items, key=cmp_to_key(compare), reverse=spec == -1)
    if not isinstance(spec, Mapping) or not spec or not all(_is_way(*pair) for pair in spec.items()):
        raise wrong_operand("$push", text, "1, -1 or a dict of fields with 1 or -1 as $sort", shown(spec))
    try:
        fields = [(split_path(name), way) for name, way in spec.items()]
    except PathError as error:
        raise InvalidUpdateError(f"$push {text!r}: $sort: {error}", operator="$push", path=text) from None

    def order(a: Any, b: Any) -> int:
        return next((way * result for path, way in fields if (result := compare(_at(a, path), _at(b, path)))), 0)

    return lambda items: sorted(items, key=cmp_to_key(order))


def _is_way(name: Any, way: Any) -> bool:
    return type(name) is str and type(way) is int and way in {1, -1}


def _at(value: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        if type(value) is not dict or name not in value:
            return None
        value = value[name]
    return value


def _values(op: str, text: str, operand: Any, depth: int) -> list[Any]:
    if not isinstance(operand, list | tuple):
        raise wrong_operand(op, text, "a list of values", type_name(operand))
    return [normalize_value(value, text, depth_max=depth) for value in operand]


def _references(op: str, text: str, operand: Any) -> list[str]:
    given = [operand] if isinstance(operand, str) else operand
    if not isinstance(given, list | tuple):
        raise wrong_operand(op, text, "'<namespace>/<id>' or a list of such", type_name(operand))
    for one in given:
        namespace, slash, id_ = one.partition("/") if type(one) is str else ("", "", "")
        if not (namespace and slash and id_):
            raise wrong_operand(op, text, "'<namespace>/<id>' or a list of such", shown(one))
    return list(given)
