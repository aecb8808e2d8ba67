"""Random lives of a usage view: recording, refreshes, kills, rebuilds in any order, beside a plain recomputation."""

import random
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from parquedb.observability.ai import AIRequest, AIRequestsView, AIUsageView, PriceBook, Tokens, create_ai_usage_view
from parquedb.observability.ai.prices import NoPrices, custom_prices
from parquedb.observability.metrics.sketch import bin_of
from tests.support.view_database import Killed, ViewDatabase

START = datetime(2026, 2, 20, tzinfo=UTC)
DAYS = 30
PRICES = {"small": {"input": "0.15", "output": "0.60", "cache_read": "0.07"}, "large": {"input": "2.5", "output": "10"}}
MODELS = {"small": ("0.15", "0.60", "0.07"), "large": ("2.5", "10", "2.5"), "unknown": None}

Totals = dict[tuple[str, str, str], tuple[Any, ...]]


def start_of(at: datetime, granularity: str) -> str:
    """The same periods by other means than the code under test."""
    if granularity == "week":
        return datetime.fromisocalendar(*at.isocalendar()[:2], 1).date().isoformat()
    return at.strftime({"hour": "%Y-%m-%dT%H", "day": "%Y-%m-%d", "month": "%Y-%m-01"}[granularity])


class Life:
    """A database with requests, a view of them, and a record of what was stored.

    Attributes:
        recorded: Every request that counts, by id.
    """

    def __init__(self, seed: int, granularity: str) -> None:
        self.rng = random.Random(seed)
        self.granularity = granularity
        self.db = ViewDatabase()
        self.recorded: dict[str, AIRequest] = {}
        self.floor = datetime.min.replace(tzinfo=UTC)
        self._seen: list[AIRequest] = []
        self._stored: set[str] = set()
        self.steps = Counter[str]()
        # What is forgotten before there is a view cannot be counted.
        self.view.refresh()

    @property
    def requests(self) -> AIRequestsView:
        book = PriceBook(custom_prices(PRICES), NoPrices())
        return AIRequestsView(self.db, prices=book, retention=timedelta(days=10))

    @property
    def view(self) -> AIUsageView:
        """A new process's view each time: nothing may depend on what one remembers."""
        return create_ai_usage_view(
            self.db, granularity=self.granularity, prices=PriceBook((), NoPrices()), allow_cross_tenant=True
        )

    def step(self) -> None:
        steps = {
            self.record: 6,
            self.refresh: 4,
            self.rebuild: 1,
            self.killed_refresh: 3,
            self.killed_rebuild: 2,
            self.refresh_interrupted: 2,
            self.rebuild_interrupted: 2,
            self.lose_owner: 1,
            self.retain: 1,
        }
        chosen = self.rng.choices(list(steps), list(steps.values()))[0]
        self.steps[chosen.__name__] += 1
        chosen()

    def record(self) -> None:
        """Some requests: new, late, and repeated; now and then the recorder is killed and tries again."""
        requests = [self._request() for _ in range(self.rng.randrange(1, 6))]
        if self._seen and self.rng.random() < 0.5:
            requests.append(self.rng.choice(self._seen))
        if self.rng.random() < 0.2:
            self._kill(lambda: self.requests.record_many(requests))
        if self.rng.random() < 0.5:
            self.requests.record_many(requests)
        else:
            for request in requests:
                self.requests.record(request)
        for request in requests:
            if request.id not in self._stored:
                self._stored.add(request.id)
                if request.time >= self.floor:
                    self.recorded[request.id] = request
        self._seen.extend(requests)

    def refresh(self) -> None:
        self.view.refresh()
        self.check()

    def rebuild(self) -> None:
        self.view.refresh(full=True)
        self.check()

    def killed_refresh(self) -> None:
        self._kill(self.view.refresh)

    def killed_rebuild(self) -> None:
        self._kill(lambda: self.view.refresh(full=True))

    def refresh_interrupted(self) -> None:
        """Another process works in the middle of this one's refresh."""
        self._interrupted(full=False)

    def rebuild_interrupted(self) -> None:
        """Another process works in the middle of this one's rebuild."""
        self._interrupted(full=True)

    def lose_owner(self) -> None:
        self.db.lose_owner(self.rng.choice(["ai_requests", f"ai_usage_{self.granularity}"]))

    def retain(self) -> None:
        """Forget old requests; what was counted stays."""
        now = START + timedelta(days=self.rng.randrange(DAYS))
        floor = (now - timedelta(days=10)).replace(hour=0, minute=0, second=0, microsecond=0)
        self.requests.delete_expired(now)
        self.floor = max(self.floor, floor)
        self._stored -= {request.id for request in self._seen if request.time < floor}

    def check(self) -> None:
        """The view must tell what a recomputation from the record tells."""
        told = {
            (row.period_name, row.group.tenant or "", row.group.model): (
                row.usage.requests,
                row.usage.errors,
                row.usage.cached,
                row.usage.unpriced,
                row.usage.tokens,
                row.usage.cost,
                row.usage.saved,
                row.usage.latency_us,
                row.usage.latencies.bins,
            )
            for row in self.view.get_usage()
        }
        expected = self.expected()
        assert told == expected, {
            key: (told.get(key), expected.get(key))
            for key in told.keys() | expected.keys()
            if told.get(key) != expected.get(key)
        }

    def expected(self) -> Totals:
        groups: dict[tuple[str, str, str], list[AIRequest]] = {}
        for request in self.recorded.values():
            start = start_of(request.time, self.granularity)
            name = {"week": f"{request.time:%G-W%V}", "month": start[:7]}.get(self.granularity, start)
            groups.setdefault((name, request.tenant or "", request.model), []).append(request)
        return {key: _totals(requests) for key, requests in groups.items()}

    def finish(self) -> None:
        self.view.refresh()
        self.check()
        self.view.refresh(full=True)
        self.check()
        # The state and the groups: of rebuilds that were killed or overtaken nothing is left.
        documents = self.db.collection(f"ai_usage_{self.granularity}").count()
        assert documents == 1 + len(self.view.get_usage())
        self.db.close()

    def _kill(self, work: Any) -> None:
        self.db.kill_after, self.db.kill_before = self.rng.randrange(1, 14), self.rng.random() < 0.5
        try:
            work()
        except Killed:
            self.steps["killed"] += 1
        self.db.kill_after = None

    def _interrupted(self, *, full: bool) -> None:
        other_full = self.rng.random() < 0.3
        others = [lambda: self.view.refresh(full=other_full), self.retain, self.killed_refresh, self.record]
        self.db.interruption = (self.rng.randrange(1, 10), self.rng.choice(others))
        self.view.refresh(full=full)
        self.db.interruption = None
        self.view.refresh()
        self.check()

    def _request(self) -> AIRequest:
        rng = self.rng
        id_ = f"r{rng.randrange(10**9)}" if rng.random() < 0.9 or not self._seen else rng.choice(self._seen).id
        known = {request.id: request for request in self._seen}
        if id_ in known:
            return known[id_]
        at = START + timedelta(seconds=rng.randrange(DAYS * 86_400))
        tokens = Tokens(rng.randrange(50, 1000), rng.randrange(500), cache_read=rng.randrange(50))
        return AIRequest(
            id=id_,
            time=at,
            model=rng.choice(list(MODELS)),
            provider="p",
            status="error" if rng.random() < 0.2 else "ok",
            latency_s=rng.choice([None, rng.random() * 10]),
            tokens=tokens,
            cached=rng.random() < 0.1,
            tenant=rng.choice([None, "a"]),
        )


def _totals(requests: list[AIRequest]) -> tuple[Any, ...]:
    prices = MODELS[requests[0].model]
    cost = saved = Decimal(0)
    if prices is not None:
        enter, leave, read = map(Decimal, prices)
        for one in requests:
            fresh = one.tokens.input - one.tokens.cache_read
            amount = (enter * fresh + read * one.tokens.cache_read + leave * one.tokens.output) / 1_000_000
            cost, saved = (cost, saved + amount) if one.cached else (cost + amount, saved)
    latencies = [one.latency_s for one in requests if one.latency_s is not None]
    return (
        len(requests),
        sum(one.status == "error" for one in requests),
        sum(one.cached for one in requests),
        len(requests) if prices is None else 0,
        Tokens(*(sum(getattr(one.tokens, name) for one in requests) for name in Tokens.__slots__)),
        cost,
        saved,
        sum(round(latency * 1_000_000) for latency in latencies),
        dict(Counter(map(bin_of, latencies))),
    )
