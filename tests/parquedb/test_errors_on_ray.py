"""An error on its way out of a Ray task; apart from those that need no Ray, which run before there is one."""

import threading

import pytest
import ray

from parquedb import errors
from parquedb.errors import VersionConflictError
from tests.parquedb.test_errors import OneWayError


def test_an_error_raised_in_a_ray_task_is_caught_as_itself(ray_cluster: str):
    # A local function goes to the worker by value; a class of this file could not.
    def fail(error: BaseException) -> None:
        raise error

    error = VersionConflictError(expected=3, actual=5, id="p1", cause=OneWayError(why="late"), lock=threading.Lock())
    with pytest.raises(VersionConflictError) as caught:
        ray.get(ray.remote(num_cpus=0)(fail).remote(error))
    assert (caught.value.expected, caught.value.actual, caught.value.id) == (3, 5, "p1")
    assert errors.is_version_conflict_error(caught.value)
    own = errors.unwrap(caught.value)
    assert type(own) is VersionConflictError
    assert own.message == "document 'p1': expected version 3, but it is at version 5"
    assert own.to_json()["cause"]["message"] == "late"
