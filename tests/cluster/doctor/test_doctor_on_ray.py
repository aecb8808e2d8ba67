"""The doctor of a cluster that runs; apart from the tests that need none, which run before there is one."""

import os

from parquedb.cluster.doctor.checks import Status
from parquedb.cluster.doctor.doctor import doctor
from tests.cluster.doctor.test_doctor import check


def test_a_cluster_that_runs_is_joined_and_tells_of_itself(ray_cluster: str) -> None:
    report = doctor(ray_address=ray_cluster, environ=dict(os.environ))
    assert check(report, "ray-cluster").status is Status.OK, check(report, "ray-cluster")
    assert "1 node" in check(report, "ray-cluster").found
    assert "object store" in check(report, "ray-memory").found
