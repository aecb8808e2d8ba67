import asyncio
import copy
import json
import pickle
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import PurePosixPath
from types import ModuleType
from typing import Any
from uuid import UUID

import pytest
from ray.exceptions import RayTaskError

from parquedb import errors
from parquedb.errors import ErrorCode, ForeignError, ParqueDBError, VersionConflictError

FACT_VALUES = {"expected": 3, "actual": 4, "timeout_s": 1.5, "retry_after": 2.5, "epoch": 7}


def walk(cls: type[ParqueDBError] = ParqueDBError) -> Iterator[type[ParqueDBError]]:
    """Yield every class of the package once, as `__subclasses__` tells; Ray's wrappers and tests' own left out."""
    seen: set[type[ParqueDBError]] = set()
    waiting = [cls]
    while waiting:
        found = waiting.pop()
        waiting += found.__subclasses__()
        if found not in seen and found.__module__.startswith("parquedb."):
            seen.add(found)
            yield found


def facts_of(cls: type[ParqueDBError]) -> list[str]:
    return [name for base in cls.__mro__ for name, value in vars(base).items() if isinstance(value, errors.Fact)]


def sample(cls: type[ParqueDBError], **more: Any) -> ParqueDBError:
    facts = {name: FACT_VALUES.get(name, f"some-{name}") for name in facts_of(cls)}
    return cls(**facts, request="r-1", retry_after=2.5, **more)


def in_ray(error: BaseException) -> Any:
    """Wrap as Ray does for what a task raised; no cluster is needed for that."""
    task_error = RayTaskError("read", "Traceback (remote)", error, proctitle="worker", pid=1, ip="127.0.0.1")
    return task_error.as_instanceof_cause()


CLASSES = sorted(walk(), key=lambda cls: cls.__name__)
every_class = pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)


class OwnInitError(errors.ConflictError):
    """What a user may write: other parameters than ours, and an attribute of its own."""

    def __init__(self, left: int, *, right: int) -> None:
        super().__init__(f"{left} is not {right}", left=left, right=right)
        self.sides = (left, right)


def assert_same(made: BaseException, error: ParqueDBError) -> None:
    assert type(made) is type(error)
    assert isinstance(made, ParqueDBError)
    assert (str(made), made.message, made.args) == (str(error), error.message, error.args)
    assert (made.code, dict(made.context)) == (error.code, dict(error.context))
    for name in facts_of(type(error)):
        assert getattr(made, name) == getattr(error, name) is not None


# --- codes


def test_codes_have_unique_numbers_in_the_thousand_of_their_category():
    numbers = [code.number for code in ErrorCode]
    assert len(set(numbers)) == len(numbers) == 67
    assert {code.category for code in ErrorCode} == set(range(1, 13))
    assert numbers == sorted(numbers)


def test_codes_read_and_pickle_by_name():
    assert ErrorCode.VERSION_CONFLICT.value == "VERSION_CONFLICT" == str(ErrorCode.VERSION_CONFLICT)
    assert all(code.name == code.value for code in ErrorCode)
    assert all(pickle.loads(pickle.dumps(code)) is code for code in ErrorCode)


@pytest.mark.parametrize(
    ("category", "names"),
    [
        (1, "UNKNOWN INTERNAL TIMEOUT CANCELLED OUTCOME_UNKNOWN"),
        (
            2,
            "VALIDATION_FAILED INVALID_INPUT INVALID_TYPE REQUIRED_FIELD INVALID_FORMAT SCHEMA_MISMATCH "
            "INVALID_OPERATOR",
        ),
        (
            3,
            "NOT_FOUND ENTITY_NOT_FOUND COLLECTION_NOT_FOUND INDEX_NOT_FOUND EVENT_NOT_FOUND SNAPSHOT_NOT_FOUND "
            "FILE_NOT_FOUND",
        ),
        (
            4,
            "CONFLICT VERSION_CONFLICT ALREADY_EXISTS ETAG_MISMATCH UNIQUE_CONSTRAINT CONCURRENT_MODIFICATION FENCED",
        ),
        (
            5,
            "RELATIONSHIP_ERROR INVALID_RELATIONSHIP RELATIONSHIP_NOT_FOUND CIRCULAR_RELATIONSHIP "
            "RELATIONSHIP_TARGET_DELETED",
        ),
        (6, "QUERY_ERROR INVALID_FILTER INVALID_UPDATE INVALID_SORT INVALID_PROJECTION QUERY_TIMEOUT"),
        (
            7,
            "STORAGE_ERROR STORAGE_READ_ERROR STORAGE_WRITE_ERROR QUOTA_EXCEEDED INVALID_PATH PATH_TRAVERSAL "
            "NETWORK_ERROR CORRUPTION CIRCUIT_OPEN",
        ),
        (8, "AUTHORIZATION_ERROR PERMISSION_DENIED AUTHENTICATION_REQUIRED TOKEN_EXPIRED RATE_LIMITED"),
        (9, "CONFIGURATION_ERROR INVALID_CONFIG MISSING_CONFIG"),
        (10, "RPC_ERROR RPC_TIMEOUT RPC_UNAVAILABLE RPC_INVALID_RESPONSE BACKPRESSURE"),
        (11, "INDEX_ERROR INDEX_BUILD_ERROR INDEX_LOAD_ERROR INDEX_ALREADY_EXISTS"),
        (12, "VIEW_ERROR VIEW_NOT_FOUND VIEW_ALREADY_EXISTS VIEW_REFRESH_ERROR"),
    ],
)
def test_each_category_has_exactly_its_names(category: int, names: str):
    assert [code.value for code in ErrorCode if code.category == category] == names.split()


@pytest.mark.parametrize(
    ("status", "names"),
    [
        (
            400,
            "VALIDATION_FAILED INVALID_INPUT INVALID_OPERATOR QUERY_ERROR INVALID_FILTER INVALID_UPDATE INVALID_SORT",
        ),
        (401, "AUTHENTICATION_REQUIRED TOKEN_EXPIRED"),
        (403, "AUTHORIZATION_ERROR PERMISSION_DENIED"),
        (404, "NOT_FOUND ENTITY_NOT_FOUND COLLECTION_NOT_FOUND SNAPSHOT_NOT_FOUND FILE_NOT_FOUND VIEW_NOT_FOUND"),
        (409, "CONFLICT VERSION_CONFLICT ALREADY_EXISTS ETAG_MISMATCH UNIQUE_CONSTRAINT FENCED"),
        (429, "BACKPRESSURE RATE_LIMITED"),
        (503, "CIRCUIT_OPEN RPC_UNAVAILABLE"),
        (504, "TIMEOUT QUERY_TIMEOUT RPC_TIMEOUT"),
        (500, "UNKNOWN INTERNAL OUTCOME_UNKNOWN STORAGE_ERROR CORRUPTION CONFIGURATION_ERROR RPC_ERROR"),
    ],
)
def test_a_code_says_which_http_status_reports_it(status: int, names: str):
    assert {name: ErrorCode[name].http_status for name in names.split()} == dict.fromkeys(names.split(), status)


def test_what_may_have_been_applied_or_needs_a_decision_is_not_retryable():
    refused = {
        "TIMEOUT",
        "CONCURRENT_MODIFICATION",
        "FENCED",
        "QUERY_TIMEOUT",
        "STORAGE_READ_ERROR",
        "STORAGE_WRITE_ERROR",
        "NETWORK_ERROR",
        "CIRCUIT_OPEN",
        "RATE_LIMITED",
        "RPC_TIMEOUT",
        "RPC_UNAVAILABLE",
        "BACKPRESSURE",
    }
    assert {code.value for code in ErrorCode if code.retryable} == refused
    assert not errors.OutcomeUnknownError().retryable
    assert errors.BackpressureError().retryable


# --- the classes


def test_the_walk_finds_the_classes():
    names = {cls.__name__ for cls in CLASSES}
    assert names >= {"ParqueDBError", "VersionConflictError", "CircuitOpenError", "TimeoutError", "ViewError"}
    assert len(names) == len(CLASSES) > 45


@every_class
def test_every_class_survives_pickling_with_each_protocol(cls: type[ParqueDBError]):
    error = sample(cls)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert_same(pickle.loads(pickle.dumps(error, protocol)), error)


@every_class
def test_every_class_survives_both_kinds_of_copy(cls: type[ParqueDBError]):
    error = sample(cls, detail={"list": [1, 2]})
    assert_same(copy.copy(error), error)
    deep = copy.deepcopy(error)
    assert_same(deep, error)
    assert deep.context["detail"]["list"] is not error.context["detail"]["list"]
    assert copy.copy(error).context["detail"] is error.context["detail"]


@every_class
def test_every_class_survives_json_text(cls: type[ParqueDBError]):
    error = sample(cls)
    assert_same(ParqueDBError.from_json(json.loads(json.dumps(error.to_json()))), error)


@every_class
def test_every_class_is_caught_as_itself_out_of_rays_wrapper_with_its_facts(cls: type[ParqueDBError]):
    error = sample(cls)
    wrapped = in_ray(error)
    assert isinstance(wrapped, RayTaskError)
    with pytest.raises(cls) as caught:
        raise wrapped
    assert {name: getattr(caught.value, name) for name in facts_of(cls)} == {
        name: getattr(error, name) for name in facts_of(cls)
    }
    assert (caught.value.code, caught.value.message, caught.value.retry_after) == (error.code, error.message, 2.5)
    assert (caught.value.http_status, caught.value.retryable) == (error.http_status, error.retryable)
    assert caught.value.to_json() == error.to_json()
    assert errors.unwrap(caught.value) is error


@every_class
def test_every_class_words_itself_with_and_without_its_facts(cls: type[ParqueDBError]):
    assert re.fullmatch(r"\S.*\S", str(cls()))
    assert str(cls("said by the caller")) == "said by the caller"
    for name in facts_of(cls):
        assert getattr(cls(), name) is None
        assert re.fullmatch(r"\S.*\S", str(cls(**{name: object()})))


@every_class
def test_facts_of_every_class_are_read_only_and_kept_in_the_context(cls: type[ParqueDBError]):
    error = sample(cls)
    for name in facts_of(cls):
        assert error.context[name] == getattr(error, name)
        with pytest.raises(AttributeError, match=f"'{name}' of {cls.__name__} is read-only"):
            setattr(error, name, "other")
        assert getattr(cls(context={name: "given"}), name) == "given"
    with pytest.raises(TypeError):
        error.context["x"] = 1  # type: ignore[index]
    with pytest.raises(AttributeError):
        error.code = ErrorCode.UNKNOWN  # type: ignore[misc]


def test_the_tree_of_the_docstring_is_the_tree_of_the_classes():
    drawn = set(re.findall(r"\b\w*Error_?\b", str(errors.__doc__)))
    made = {cls.__name__ for cls in CLASSES if not cls.__name__.startswith("_")}
    assert drawn == made | {"ForeignError"}
    lines = re.findall(r"^( *)(\w+Error_?)\b", str(errors.__doc__), re.MULTILINE)
    above: list[str] = []
    for indent, name in lines:
        if name != "ForeignError":
            above[len(indent) // 2 :] = [name]
            parents = above[:-1]
            assert all(issubclass(getattr(errors, name), getattr(errors, parent)) for parent in parents), name


def test_all_lists_every_public_name():
    public = {
        name for name, value in vars(errors).items() if not name.startswith("_") and not isinstance(value, ModuleType)
    }
    assert set(errors.__all__) == public


# --- messages


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            VersionConflictError(expected=3, actual=5, id="p1", namespace="posts"),
            "document 'p1' in namespace 'posts': expected version 3, but it is at version 5",
        ),
        (VersionConflictError(expected=3, id="p1"), "document 'p1': expected version 3, but it does not exist"),
        (errors.EntityNotFoundError(id="p1", namespace="posts"), "no document 'p1' in namespace 'posts'"),
        (errors.EntityNotFoundError(), "no such document"),
        (errors.CollectionNotFoundError(namespace="posts"), "no namespace 'posts'"),
        (errors.ObjectNotFoundError(key="posts/log/1"), "no object 'posts/log/1'"),
        (errors.AlreadyExistsError(id="p1"), "document 'p1' already exists"),
        (errors.AlreadyExistsError(key="a/b"), "object 'a/b' already exists"),
        (
            errors.ETagMismatchError(key="a", expected="1", actual="2"),
            "object 'a': expected etag '1', but it has '2'",
        ),
        (
            errors.ETagMismatchError(key="a", expected="1"),
            "object 'a': expected etag '1', but it has another or is missing",
        ),
        (errors.UniqueConstraintError(field="email", value="a@b"), "email must be unique, and 'a@b' is taken"),
        (errors.FencedError(namespace="posts", epoch=4), "the owner of epoch 4 lost namespace 'posts' to another"),
        (
            errors.ConcurrentModificationError(key="a"),
            "object 'a' is being written by another; send the same bytes again",
        ),
        (
            errors.ValidationError(field="a.b", expected=int, actual="str"),
            "invalid value of 'a.b': expected int, got str",
        ),
        (errors.InvalidFilterError(operator="$near", path="a.b"), "invalid filter: operator '$near' at 'a.b'"),
        (errors.InvalidUpdateError(operator="$sett"), "invalid update: operator '$sett'"),
        (errors.TimeoutError(timeout_s=2.50), "no answer within 2.5 s"),
        (errors.QueryTimeoutError(timeout_s=30), "the query took over 30 s"),
        (
            errors.OutcomeUnknownError(request_id="r-1"),
            "whether the write was applied is unknown; send it again with request_id='r-1'",
        ),
        (
            errors.OutcomeUnknownError(key="a/1"),
            "whether the write of 'a/1' was applied is unknown; read before you write again",
        ),
        (errors.CorruptionError(key="a", reason="checksum differs"), "object 'a' is corrupt: checksum differs"),
        (errors.CircuitOpenError(circuit="s3-read", retry_after=30.0), "circuit 's3-read' is open; retry after 30 s"),
        (errors.BackpressureError(retry_after=0.25), "too much work is waiting; retry after 0.25 s"),
        (errors.StorageWriteError(key="a"), "storage write error: 'a'"),
        (errors.PathTraversalError(path="../x"), "path traversal: '../x'"),
        (errors.ConfigurationError(setting="PARQUEDB_URL"), "PARQUEDB_URL cannot be used"),
    ],
)
def test_a_default_message_words_the_facts(error: ParqueDBError, message: str):
    assert str(error) == message


@pytest.mark.parametrize("value", [None, True, "5", -1, float("nan"), float("inf"), 10**400])
def test_retry_after_is_none_unless_it_is_a_sensible_number_of_seconds(value: object):
    assert errors.BackpressureError(retry_after=value).retry_after is None


def test_retry_after_is_a_float():
    assert errors.BackpressureError(retry_after=3).retry_after == 3.0
    assert isinstance(errors.BackpressureError(retry_after=3).retry_after, float)


def test_a_code_may_be_narrower_than_that_of_the_class():
    error = errors.ValidationError("no such type", code=ErrorCode.INVALID_TYPE)
    assert error.code is ErrorCode.INVALID_TYPE
    assert pickle.loads(pickle.dumps(error)).code is ErrorCode.INVALID_TYPE
    assert errors.ValidationError().code is ErrorCode.VALIDATION_FAILED


# --- causes


def chain(error: BaseException | None) -> list[str]:
    links = []
    while error is not None:
        links.append(f"{type(error).__name__}: {error}")
        error = error.__cause__
    return links


def failed_read() -> ParqueDBError:
    timeout = OSError(110, "Connection timed out")
    network = errors.NetworkError(key="a/b", cause=timeout)
    corrupt = errors.CorruptionError(key="a/b", cause=network)
    return errors.StorageReadError("cannot open", cause=corrupt, namespace="posts")


def test_a_cause_is_the_dunder_cause_and_the_other_way_round():
    first = ValueError("bad")
    assert ParqueDBError("x", cause=first).__cause__ is first
    with pytest.raises(ParqueDBError) as caught:
        raise ParqueDBError("x") from first
    assert caught.value.cause is first
    assert ParqueDBError("x").cause is None


@pytest.mark.parametrize(
    "travel",
    [
        lambda error: pickle.loads(pickle.dumps(error)),
        lambda error: ParqueDBError.from_json(json.loads(json.dumps(error.to_json()))),
        lambda error: errors.unwrap(in_ray(pickle.loads(pickle.dumps(error)))),
    ],
    ids=["pickle", "json", "ray"],
)
def test_the_chain_of_causes_survives_the_trip(travel: Any):
    error = travel(failed_read())
    assert chain(error) == [
        "StorageReadError: cannot open",
        "CorruptionError: object 'a/b' is corrupt",
        "NetworkError: network error: 'a/b'",
        "ForeignError: TimeoutError: [Errno 110] Connection timed out",
    ]
    assert error.cause.cause.key == "a/b"
    # And once more: a second trip changes nothing.
    assert travel(error).to_json() == error.to_json()


def test_a_copy_keeps_the_foreign_cause_itself():
    error = ParqueDBError("x", cause=(first := threading.BrokenBarrierError("broken")))
    assert copy.copy(error).cause is first
    assert copy.deepcopy(error).cause is first


def test_a_foreign_cause_keeps_its_qualified_name_and_its_own_cause():
    try:
        try:
            json.loads("{")
        except json.JSONDecodeError as problem:
            raise RuntimeError("no state") from problem
    except RuntimeError as problem:
        data = errors.InternalError(cause=problem).to_json()
    assert data["cause"]["name"] == "RuntimeError"
    assert data["cause"]["cause"]["name"] == "json.decoder.JSONDecodeError"
    foreign = ParqueDBError.from_json(data).cause
    assert isinstance(foreign, ForeignError)
    assert (foreign.name, foreign.message, str(foreign)) == ("RuntimeError", "no state", "RuntimeError: no state")


def test_our_error_raised_from_its_own_ray_wrapper_is_no_endless_chain():
    error = VersionConflictError(expected=1, actual=2, id="p1", namespace="posts", cause=ValueError("why"))
    with pytest.raises(VersionConflictError) as caught:
        try:
            raise in_ray(error)
        except RayTaskError as wrapper:
            raise wrapper.cause from wrapper
    assert caught.value is error
    assert "cause" not in error.to_json()
    assert_same(pickle.loads(pickle.dumps(error)), error)
    assert copy.deepcopy(error).expected == 1


def test_a_ray_wrapper_as_cause_counts_as_what_it_wraps():
    error = errors.InternalError(cause=in_ray(errors.NetworkError(key="k")))
    assert error.to_json()["cause"]["name"] == "NetworkError"
    assert type(pickle.loads(pickle.dumps(error)).cause) is errors.NetworkError
    foreign = errors.InternalError(cause=in_ray(ValueError("bad")))
    assert foreign.to_json()["cause"] == {"name": "ValueError", "message": "bad"}


def test_a_chain_of_a_thousand_causes_is_cut():
    error = ParqueDBError("0")
    for number in range(1000):
        error = ParqueDBError(str(number), cause=error)
    assert 10 < len(chain(pickle.loads(pickle.dumps(error)))) < 100
    assert 10 < len(chain(ParqueDBError.from_json(error.to_json()))) < 100


def test_a_stack_is_included_only_when_asked_for():
    def read() -> None:
        raise errors.StorageReadError(key="a") from ValueError("bad")

    with pytest.raises(errors.StorageReadError) as caught:
        read()
    assert "stack" not in json.dumps(caught.value.to_json())
    data = caught.value.to_json(stack=True)
    assert "in read" in data["stack"]
    assert "ValueError: bad" in data["cause"]["stack"]
    assert "ValueError: bad" not in data["stack"]
    assert ParqueDBError.from_json(data).to_json() == caught.value.to_json()


# --- contexts that are not JSON, or do not pickle


class Hostile:
    def __repr__(self) -> str:
        raise RuntimeError("no words")

    def __reduce__(self) -> Any:
        raise RuntimeError("no pickle")

    def __deepcopy__(self, memo: object) -> Any:
        raise RuntimeError("no copy")


class HostileMapping(Mapping[str, int]):
    def __getitem__(self, key: str) -> int:
        raise KeyError(key)

    def __iter__(self) -> Iterator[str]:
        raise RuntimeError("no keys")

    def __len__(self) -> int:
        return 1

    def __repr__(self) -> str:
        return "no items"


class OneWayError(Exception):
    """Pickles, but cannot be unpickled: the trap of keyword-only parameters."""

    def __init__(self, *, why: str) -> None:
        super().__init__(why)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"\x00\xff", "00ff"),
        (bytearray(b"\x01"), "01"),
        (datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC), "2026-01-02T03:04:05.000006+00:00"),
        (date(2026, 1, 2), "2026-01-02"),
        (Decimal("1.10"), "1.10"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (PurePosixPath("a/b"), "a/b"),
        (ErrorCode.FENCED, "FENCED"),
        ((1, 2), [1, 2]),
        ({3}, [3]),
        ({1: {"a": (b"\x0a",)}}, {"1": {"a": ["0a"]}}),
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
        (2**63, 2**63),
        (2**64, "18446744073709551616"),
        (10**9, 10**9),
        (True, True),
        (None, None),
        ("\ud800", "\\ud800"),
        (ValueError("bad"), "bad"),
        (dict, "<class 'dict'>"),
        (Hostile(), f"<{__name__}.Hostile>"),
        ([Hostile()], [f"<{__name__}.Hostile>"]),
        ([1, HostileMapping()], [1, "no items"]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_context_value_becomes_json(value: object, expected: object):
    made = json.loads(json.dumps(ParqueDBError("x", thing=value).to_json(), allow_nan=False))["context"]["thing"]
    assert made == expected
    assert type(made) is type(expected)


def test_a_context_that_holds_itself_is_cut_in_json_and_kept_by_pickle():
    loop: dict[str, Any] = {"name": "loop"}
    loop["self"] = loop
    error = ParqueDBError("x", thing=loop)
    assert error.to_json()["context"]["thing"] == {"name": "loop", "self": "..."}
    made = pickle.loads(pickle.dumps(error))
    assert made.context["thing"]["self"]["name"] == "loop"


def test_what_does_not_pickle_travels_as_text_and_takes_nothing_with_it():
    error = ParqueDBError(
        "x", good=[1, b"2"], bad=threading.Lock(), deep={"a": [Hostile(), 3]}, trap=OneWayError(why="y")
    )
    made = pickle.loads(pickle.dumps(error))
    assert made.context["good"] == [1, b"2"]
    assert "lock" in made.context["bad"]
    assert made.context["deep"] == {"a": [f"<{__name__}.Hostile>", 3]}
    assert made.context["trap"] == "y"


def test_what_does_not_copy_is_shared_by_a_deep_copy():
    error = ParqueDBError("x", bad=(bad := Hostile()), good=(good := [1]))
    made = copy.deepcopy(error)
    assert made.context["bad"] is bad
    assert made.context["good"] == good
    assert made.context["good"] is not good


def test_a_hostile_cause_travels_by_name():
    class SilentError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no words")

    made = pickle.loads(pickle.dumps(ParqueDBError("x", cause=SilentError())))
    assert made.cause.name.endswith("SilentError")
    made = pickle.loads(pickle.dumps(ParqueDBError("x", cause=OneWayError(why="late"))))
    assert made.cause.message == "late"


def test_a_fact_of_16_mib_does_not_become_a_message_of_16_mib():
    error = errors.UniqueConstraintError(field="blob", value="x" * 2**24)
    assert len(str(error)) < 30_000


def test_notes_survive_pickle_and_copies():
    error = ParqueDBError("x")
    error.add_note("seen by the collector")
    for made in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert made.__notes__ == ["seen by the collector"]


def test_a_users_subclass_with_other_parameters_survives_every_trip():
    error = OwnInitError(1, right=2)
    for made in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert_same(made, error)
        assert made.sides == (1, 2)
    assert_same(ParqueDBError.from_json(error.to_json()), error)
    wrapped = in_ray(error)
    assert isinstance(wrapped, OwnInitError)
    assert wrapped.sides == (1, 2)


# --- JSON from elsewhere


@pytest.mark.parametrize(
    ("data", "cls", "code"),
    [
        ({"name": "StaleDocumentError", "code": "VERSION_CONFLICT"}, VersionConflictError, "VERSION_CONFLICT"),
        ({"name": "X", "code": "INDEX_NOT_FOUND"}, errors.NotFoundError, "INDEX_NOT_FOUND"),
        ({"name": "X", "code": "INDEX_LOAD_ERROR"}, errors.IndexError_, "INDEX_LOAD_ERROR"),
        ({"name": "X", "code": "DISK_ON_FIRE", "number": 7999}, errors.StorageError, "STORAGE_ERROR"),
        ({"name": "X", "code": "WHATEVER"}, ParqueDBError, "UNKNOWN"),
        ({"name": "NetworkError"}, errors.NetworkError, "NETWORK_ERROR"),
        ({"name": "NetworkError", "code": 5, "number": "x"}, errors.NetworkError, "NETWORK_ERROR"),
        (
            {"name": ["a"], "code": {"b": 1}, "number": True, "context": 5, "message": 7, "cause": 3},
            ParqueDBError,
            "UNKNOWN",
        ),
        ({}, ParqueDBError, "UNKNOWN"),
        (None, ParqueDBError, "UNKNOWN"),
        ("it broke", ParqueDBError, "UNKNOWN"),
        ([1], ParqueDBError, "UNKNOWN"),
    ],
)
def test_json_that_is_not_ours_becomes_the_nearest_error(data: Any, cls: type[ParqueDBError], code: str):
    error = ParqueDBError.from_json(data)
    assert type(error) is cls
    assert error.code.value == code


def test_unknown_keys_in_json_are_ignored():
    data = VersionConflictError(expected=1, actual=2).to_json() | {"colour": "red", "cause": {"colour": "blue"}}
    error = ParqueDBError.from_json(data)
    assert isinstance(error, VersionConflictError)
    assert (error.expected, error.actual) == (1, 2)
    assert str(error.cause) == "Exception"


def test_json_with_facts_of_the_wrong_type_still_makes_an_error():
    error = ParqueDBError.from_json({"name": "TimeoutError", "code": "TIMEOUT", "context": {"timeout_s": ["soon"]}})
    assert isinstance(error, errors.TimeoutError)
    assert str(error) == "no answer within ['soon'] s"


def test_a_cyclic_cause_in_data_is_cut():
    data: dict[str, Any] = {"name": "NetworkError", "code": "NETWORK_ERROR"}
    data["cause"] = data
    assert 1 < len(chain(ParqueDBError.from_json(data))) < 100


# --- guards

GUARDS = {name: getattr(errors, name) for name in errors.__all__ if name.startswith("is_")}
GUARDED = {
    "is_parquedb_error": ParqueDBError,
    "is_cancelled_error": errors.CancelledError_,
    "is_index_error": errors.IndexError_,
    "is_path_error": errors.InvalidPathError,
    "is_etag_mismatch_error": errors.ETagMismatchError,
}


def guarded(name: str) -> type[ParqueDBError]:
    words = name.removeprefix("is_").split("_")
    return GUARDED.get(name) or getattr(errors, "".join(word.capitalize() for word in words))


@pytest.mark.parametrize("name", sorted(GUARDS))
def test_a_guard_is_true_for_its_class_bare_or_in_ray_and_false_for_all_else(name: str):
    guard, wanted = GUARDS[name], guarded(name)
    for cls in CLASSES:
        error = cls()
        bare = RayTaskError("read", "Traceback", error, proctitle="worker", pid=1, ip="127.0.0.1")
        expected = issubclass(cls, wanted)
        assert [guard(error), guard(in_ray(error)), guard(bare)] == [expected] * 3, cls
    foreign = ValueError("bad")
    for other in (None, 0, "", "VersionConflictError", wanted, object(), foreign, in_ray(foreign), TimeoutError()):
        assert guard(other) is False


def test_an_object_with_a_cause_that_is_no_ray_error_is_not_unwrapped():
    outer = RuntimeError("outer")
    outer.cause = VersionConflictError()  # type: ignore[attr-defined]
    assert not errors.is_version_conflict_error(outer)
    assert errors.unwrap(outer) is outer


def test_guards_and_errors_work_without_importing_ray():
    code = (
        "import sys; from parquedb.errors import *; e = VersionConflictError(expected=1);"
        "assert is_conflict_error(e) and not is_conflict_error(ValueError()) and unwrap(e) is e; e.to_json();"
        "sys.exit('ray' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# --- helpers


def test_assert_valid_raises_with_message_and_facts():
    errors.assert_valid(1, "unused")
    with pytest.raises(errors.ValidationError, match="limit is a count") as caught:
        errors.assert_valid(0, "limit is a count", field="limit", expected="int", message="m", code="c")
    assert (caught.value.field, caught.value.expected) == ("limit", "int")
    assert caught.value.context["message"] == "m"


@pytest.mark.parametrize("value", [0, "", False, [], 0.0])
def test_falsy_values_are_found(value: object):
    assert errors.assert_found(value, "unused") is value


def test_none_is_not_found_and_the_code_chooses_the_class():
    with pytest.raises(errors.NotFoundError, match=r"^nothing here$") as caught:
        errors.assert_found(None, "nothing here")
    assert type(caught.value) is errors.NotFoundError
    with pytest.raises(errors.EntityNotFoundError, match=r"^no document 'p1'$"):
        errors.assert_found(None, code=ErrorCode.ENTITY_NOT_FOUND, id="p1")


def test_wrap_error_leaves_ours_alone_and_takes_it_out_of_ray():
    error = errors.NetworkError(key="k")
    assert errors.wrap_error(error) is error
    assert errors.wrap_error(in_ray(error)) is error


@pytest.mark.parametrize(
    ("foreign", "cls"),
    [
        (TimeoutError("late"), errors.TimeoutError),
        (asyncio.CancelledError(), errors.CancelledError_),
        (ConnectionResetError("gone"), errors.NetworkError),
        (ValueError("bad"), errors.InternalError),
    ],
)
def test_wrap_error_keeps_the_meaning_of_a_foreign_error(foreign: BaseException, cls: type[ParqueDBError]):
    error = errors.wrap_error(foreign, namespace="posts")
    assert type(error) is cls
    assert error.cause is foreign
    assert type(foreign).__name__ in str(error)
    assert error.context["namespace"] == "posts"


def test_wrap_error_takes_message_and_code():
    error = errors.wrap_error(OSError("full"), "the disk is full", code=ErrorCode.QUOTA_EXCEEDED, key="a")
    assert type(error) is errors.QuotaExceededError
    assert (str(error), error.key) == ("the disk is full", "a")  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("status", "cls"),
    [
        (400, errors.InvalidInputError),
        (401, errors.AuthenticationRequiredError),
        (403, errors.PermissionDeniedError),
        (404, errors.NotFoundError),
        (409, errors.ConflictError),
        (412, errors.ETagMismatchError),
        (418, errors.InvalidInputError),
        (422, errors.ValidationError),
        (429, errors.RateLimitedError),
        (500, errors.InternalError),
        (503, errors.RpcUnavailableError),
        (504, errors.TimeoutError),
        (599, errors.InternalError),
        (302, ParqueDBError),
        (-1, ParqueDBError),
    ],
)
def test_a_status_becomes_an_error(status: int, cls: type[ParqueDBError]):
    error = errors.error_from_status(status, retry_after=3)
    assert type(error) is cls
    assert str(error) == f"HTTP status {status}"
    assert error.context["status"] == status
    assert error.retry_after == 3
    assert str(errors.error_from_status(status, "said so")) == "said so"
