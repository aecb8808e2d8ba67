"""A shop whose database is worth a look: namespaces of several sizes, some asleep, work going on, things failing."""

import math
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import httpx

SIZES: Final = {"orders": 4200, "customers": 1800, "products": 640, "carts": 310, "invoices": 2900, "tickets": 96}
ASLEEP: Final = ("archive-2024", "archive-2025", "newsletter", "suppliers")
SHARES: Final = {"orders": 0.45, "carts": 0.25, "products": 0.15, "customers": 0.1, "tickets": 0.05}
"""Who is asked how often, as a part of all."""

PAUSE_S: Final = 0.04
"""Seconds that a customer thinks on average."""

TIDE_S: Final = 700
"""Seconds from one busiest moment to the next."""

_CITIES = ("Bern", "Genève", "Zürich", "Lugano", "Basel", "Chur")
_FIRST = ("Ada", "Grace", "Edsger", "Barbara", "Donald", "Frances", "Niklaus", "Radia")
_LAST = ("Keller", "Rossi", "Favre", "Meier", "Bianchi", "Weber", "Dubois", "Huber")
_THINGS = ("Teapot", "Lamp", "Notebook", "Chair", "Kettle", "Clock", "Blanket", "Vase")
_STATES = ("new", "paid", "packed", "shipped", "returned")


def document(namespace: str, number: int, rng: random.Random) -> dict[str, Any]:
    """Return a document of the shop."""
    at = datetime(2026, 3, 1, tzinfo=UTC) + timedelta(minutes=37 * number)
    made: dict[str, Any] = {"$id": f"{namespace[:3]}-{number:05}"}
    if namespace in {"orders", "carts", "invoices"}:
        return made | {
            "customer": f"{rng.choice(_FIRST)} {rng.choice(_LAST)}",
            "total": {"$numberDecimal": f"{rng.randrange(900, 45_000) / 100:.2f}"},
            "state": rng.choice(_STATES),
            "items": [{"product": f"pro-{rng.randrange(640):05}", "count": rng.randrange(1, 4)}],
            "placed": {"$date": at.strftime("%Y-%m-%dT%H:%M:%SZ")},
            "address": {"city": rng.choice(_CITIES), "zip": rng.randrange(1000, 9700)},
        }
    if namespace == "products":
        return made | {"title": f"{rng.choice(_THINGS)} No. {number}", "stock": rng.randrange(400), "tags": ["home"]}
    return made | {
        "name": f"{rng.choice(_FIRST)} {rng.choice(_LAST)}",
        "city": rng.choice(_CITIES),
        "visits": number % 40,
    }


def furnish(client: httpx.Client) -> None:
    """Put everything on the shelves, and change one order a few times."""
    rng = random.Random(7)
    for namespace, size in SIZES.items():
        documents = [document(namespace, number, rng) for number in range(size)]
        for first in range(0, size, 1000):
            client.post(
                f"/v1/{namespace}/create_many", json={"docs": documents[first : first + 1000]}
            ).raise_for_status()
        client.post(f"/v1/{namespace}/flush").raise_for_status()
    order = "/v1/orders/documents/ord-00042"
    for change in (
        {"$set": {"state": "paid", "payment": {"method": "card", "at": {"$date": "2026-03-02T08:11:54Z"}}}},
        {"$set": {"state": "packed"}, "$push": {"items": {"product": "pro-00017", "count": 2}}},
        {"$set": {"state": "shipped", "parcel": "99.00.123456.12345678"}, "$unset": {"note": 1}},
    ):
        client.patch(order, json=change).raise_for_status()


def fail(client: httpx.Client) -> None:
    """Do what is refused, as happens in every shop."""
    for attempt in range(14):
        stale = {"id": "ord-00042", "ops": {"$set": {"state": "new"}}, "expected_version": 1 + attempt % 3}
        client.post("/v1/orders/update", json=stale)
    for number in range(5):
        client.post(
            "/v1/customers?id=cus-00001", json={"name": "Twice"}, headers={"Idempotency-Key": f"sign-up-{number}"}
        )
    client.post("/v1/products/update", json={"id": "pro-99999", "ops": {"$inc": {"stock": -1}}})
    client.post("/v1/tickets/find", json={"filter": {"text": {"$regex": "(refund"}}})


@contextmanager
def busy(url: str) -> Iterator[None]:
    """Let customers come and go."""
    over = threading.Event()

    def shop() -> None:
        rng, begun_s = random.Random(11), time.monotonic()
        with httpx.Client(base_url=url) as client:
            while not over.wait(PAUSE_S * (1 + 0.5 * math.cos(math.tau * (time.monotonic() - begun_s) / TIDE_S))):
                [namespace] = rng.choices(list(SHARES), list(SHARES.values()))
                id_ = f"{namespace[:3]}-{rng.randrange(SIZES[namespace]):05}"
                kind = rng.random()
                if kind < 0.2:
                    client.patch(f"/v1/{namespace}/documents/{id_}", json={"$inc": {"seen": 1}})
                elif kind < 0.23:
                    client.get(
                        f"/v1/{namespace}", params={"filter": '{"state": "paid"}', "sort": "-placed", "limit": 20}
                    )
                else:
                    client.get(f"/v1/{namespace}/documents/{id_}")

    workers = [threading.Thread(target=shop, daemon=True) for _ in range(2)]
    for worker in workers:
        worker.start()
    try:
        yield
    finally:
        over.set()
        for worker in workers:
            worker.join()
