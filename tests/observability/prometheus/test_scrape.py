"""A real Prometheus scrapes databases at work, takes the rules, and has an answer to every query of the dashboard.

One is a recording in which everything has happened, also what rarely does; the other is real: its owner is killed once.
"""

import os
import re
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import Any, Self

import pytest

import parquedb
from parquedb.errors import EntityNotFoundError, InvalidFilterError, VersionConflictError
from parquedb.observability.metrics.snapshot import MetricsSnapshot
from parquedb.observability.prometheus import start_metrics_server
from parquedb.observability.prometheus.dashboard import CALLERS_ERRORS
from tests.observability.prometheus.recorded import SNAPSHOT
from tests.observability.prometheus.test_alerts import RULES
from tests.observability.prometheus.test_dashboard import DASHBOARD, PANELS
from tests.support.prometheus import Programs, Prometheus, running_prometheus

RECORDED, REAL = "parquedb-recorded", "parquedb-real"
VARIABLES = {"instance": ".*", "namespace": ".*", "side": "client", "__rate_interval": "60s"}

# Panels that have nothing to show of a real database, and why that is right.
EMPTY = {"Failed requests": "storage did not fail"}


class Recording:
    """A database that does the recorded workload once more before each look at it."""

    def __init__(self) -> None:
        self._total = MetricsSnapshot()

    def metrics_by_process(self, *, owners: bool = True) -> dict[str, MetricsSnapshot]:
        self._total = MetricsSnapshot.merge(self._total, SNAPSHOT)
        return {"posts": self._total}


class Workload:
    """A thread that uses a namespace until it is told to stop."""

    def __init__(self, posts: parquedb.Collection) -> None:
        self._posts = posts
        self._stop = threading.Event()
        self._failures: list[BaseException] = []
        self._thread = threading.Thread(target=self._work)

    def _work(self) -> None:
        number = 0
        try:
            while not self._stop.wait(0.05):
                self._round(number)
                number += 1
        except BaseException as error:
            self._failures.append(error)
            raise

    def _round(self, number: int) -> None:
        posts = self._posts
        post = posts.create({"title": "Hello", "views": number})
        posts.create_many([{"views": each} for each in range(10)])
        posts.update(post["$id"], {"$inc": {"views": 1}})
        posts.get(post["$id"])
        posts.find({"views": {"$gte": number}}, limit=5)
        with suppress(VersionConflictError):
            posts.update(post["$id"], {"$inc": {"views": 1}}, expected_version=99)
        with suppress(EntityNotFoundError):
            posts.update("nobody", {"$inc": {"views": 1}})
        with suppress(InvalidFilterError):
            posts.find({"views": {"$near": 1}})
        if number % 5 == 0:
            posts.flush()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(60)
        assert not self._thread.is_alive()
        assert self._failures == []


@pytest.fixture(scope="module")
def prometheus(programs: Programs, ray_cluster: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """One Prometheus for all tests here; the owner of the real database has been killed and is back."""
    folder = tmp_path_factory.mktemp("prometheus")
    with ExitStack() as stack:
        db = stack.enter_context(parquedb.connect(folder / "db"))
        stack.enter_context(Workload(db["posts"]))
        databases = {RECORDED: Recording(), REAL: db}
        servers = {job: stack.enter_context(start_metrics_server(each, 0)) for job, each in databases.items()}
        targets = {job: f"127.0.0.1:{server.port}" for job, server in servers.items()}
        (folder / "prometheus").mkdir()
        prometheus = stack.enter_context(running_prometheus(programs, folder / "prometheus", targets, RULES))
        prometheus.wait_for(f'parquedb_operations_total{{job="{REAL}",operation="create",side="actor"}} > 10')
        os.kill(db["posts"].stats()["pid"], signal.SIGKILL)
        prometheus.wait_for(f'parquedb_cold_starts_total{{job="{REAL}"}} > 1', 60)
        yield prometheus


def filled(text: str, **values: str) -> str:
    """Put values in the place of a dashboard's variables."""
    return re.sub(r"\$(\w+)", lambda found: {**VARIABLES, **values}[found[1]], text)


def shown(panel: dict[str, Any], prometheus: Prometheus, **values: str) -> None:
    """Require that each query of a panel finds numbers, labelled as its legend wants them."""
    for target in panel["targets"]:
        samples = prometheus.wait_for(f"({filled(target['expr'], **values)}) >= 0")  # NaN is no number.
        named = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
        assert named <= {name for sample in samples for name in sample["metric"]}


def test_every_panel_has_something_to_show_of_what_was_recorded(prometheus: Prometheus) -> None:
    for panel in PANELS.values():
        shown(panel, prometheus, job=RECORDED)


@pytest.mark.parametrize("side", ["client", "actor"])
def test_every_panel_has_something_to_show_of_a_real_database(side: str, prometheus: Prometheus) -> None:
    for panel in PANELS.values():
        if panel["title"] in EMPTY:
            failed = prometheus.query(filled(panel["targets"][0]["expr"], job=REAL, side=side))
            assert [sample for sample in failed if float(sample["value"][1]) > 0] == []
        else:
            shown(panel, prometheus, job=REAL, side=side)


def test_no_counter_falls_when_an_owner_is_killed_and_another_takes_over(prometheus: Prometheus) -> None:
    counters = f'{{__name__=~"parquedb_.*_(total|count|bucket)",job="{REAL}"}}'
    assert len(prometheus.wait_for(f"last_over_time({counters}[5m])")) > 100
    names = {sample["metric"]["__name__"] for sample in prometheus.query(counters)}
    fallen = [name for name in names if prometheus.query(f'resets({name}{{job="{REAL}"}}[5m]) > 0')]
    assert fallen == []
    owner = f'{{job="{REAL}",namespace="posts",operation="create",side="actor"}}'
    assert prometheus.query(f"parquedb_operations_total{owner} > 10")


def test_refusals_of_a_real_database_have_the_types_that_the_alerts_know_as_the_callers(prometheus: Prometheus) -> None:
    for side in ("client", "actor"):
        failed = f'parquedb_operation_errors_total{{job="{REAL}",category=~"query|mutation",side="{side}"}}'
        types = {sample["metric"]["error_type"] for sample in prometheus.wait_for(f"sum by (error_type) ({failed})")}
        assert {"VersionConflictError", "EntityNotFoundError"} <= {
            name for name in types if re.fullmatch(CALLERS_ERRORS, name)
        }


def test_the_variables_have_values_to_choose_from(prometheus: Prometheus) -> None:
    queries = [each["query"]["query"] for each in DASHBOARD["templating"]["list"] if each["type"] == "query"]
    offered = {}
    for query in queries:
        selector, label = re.fullmatch(r"label_values\((.*), (\w+)\)", query).groups()
        offered[label] = prometheus.get(f"label/{label}/values", {"match[]": filled(selector, job=REAL)})
    assert offered.keys() == {"job", "instance", "namespace"}
    assert {REAL, RECORDED} <= set(offered["job"])
    assert len(offered["instance"]) == 1
    assert offered["namespace"] == ["posts"]


def test_every_rule_is_evaluated_without_complaint(prometheus: Prometheus) -> None:
    prometheus.wait_for(f'ALERTS{{alertname="ParqueDBCircuitOpen",job="{RECORDED}",circuit="s3.write"}}')
    rules = [rule for group in prometheus.get("rules")["groups"] for rule in group["rules"]]
    assert {rule["name"]: rule.get("lastError") for rule in rules if rule["health"] != "ok"} == {}
    assert len([rule for rule in rules if rule["type"] == "alerting"]) == RULES.read_text().count("- alert:")
