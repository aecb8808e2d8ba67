"""Flights like those of a public table, as Arrow: the same ones every time."""

from datetime import UTC, datetime

import numpy as np
import pyarrow as pa

CARRIERS = ("AA", "AS", "B6", "DL", "EV", "F9", "FL", "HA", "MQ", "OO", "UA", "US", "VX", "WN", "YV", "9E")
ORIGINS = ("EWR", "JFK", "LGA")
TAGS = ("late", "full", "charter", "training")
START_US = int(datetime(2013, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000
MINUTE_US = 60_000_000


def flights(count: int, *, seed: int = 2013) -> pa.Table:
    """Return `count` flights with ascending bare ids: strings, ints, floats with nulls, times, a struct and a list."""
    rng = np.random.default_rng(seed)
    airports = np.array([f"{first}{second}X" for first in "ABCDEFGHIJ" for second in "ABCDEFGHIJ"])
    lengths = rng.integers(0, 3, count)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return pa.table(
        {
            "$id": pa.array([f"f{number:08d}" for number in range(count)]),
            "carrier": _picked(rng, CARRIERS, count),
            "flight": pa.array(rng.integers(1, 8_500, count)),
            "tailnum": pa.array(np.char.add("N", rng.integers(10_000, 14_000, count).astype(str))),
            "origin": _picked(rng, ORIGINS, count),
            "dest": pa.array(airports[rng.integers(0, len(airports), count)]),
            "scheduled": pa.array(START_US + MINUTE_US * np.arange(count), pa.timestamp("us", "UTC")),
            "dep_delay": pa.array(np.round(rng.normal(12, 40, count), 1), mask=rng.random(count) < 0.025),
            "arr_delay": pa.array(np.round(rng.normal(7, 45, count), 1), mask=rng.random(count) < 0.025),
            "distance": pa.array(rng.integers(80, 5_000, count)),
            "air_time": pa.array(rng.random(count) * 600),
            "weather": pa.StructArray.from_arrays(
                [pa.array(np.round(rng.normal(60, 18, count), 1)), pa.array(np.round(rng.random(count) * 40, 1))],
                ["temp", "wind"],
            ),
            "tags": pa.ListArray.from_arrays(pa.array(offsets), _picked(rng, TAGS, int(offsets[-1]))),
        }
    )


def _picked(rng: np.random.Generator, values: tuple[str, ...], count: int) -> pa.Array:
    return pa.array(np.array(values)[rng.integers(0, len(values), count)])
