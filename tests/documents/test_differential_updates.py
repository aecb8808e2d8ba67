"""Update operators against mongomock: random documents, random updates, the same result.

`tests/support/mongomock_updates.py` says what is asked of mongomock and what the manual decides; what neither can be
asked is set aside by name. `test_differential.py` compares `$set`, `$unset` and `$inc` in depth, on paths of any kind.
`PARQUEDB_DIFFERENTIAL_EXAMPLES` sets the number of cases, thrice as many here; `make test-soak` runs a hundred times as
many, from `PARQUEDB_DIFFERENTIAL_SEED` on, and logs (`--log-cli-level=INFO`) how many were set aside by which rule.
"""

import copy
import logging
import os
import random
from collections import Counter
from datetime import UTC, datetime

import pytest

from parquedb.documents.filters import compile_filter
from parquedb.documents.updates import compile_update
from parquedb.errors import InvalidUpdateError
from tests.support.mongomock_updates import Oracle, Refused, SetAside, exact, timeless
from tests.support.updates import Case, case

EXAMPLES = int(os.environ.get("PARQUEDB_DIFFERENTIAL_EXAMPLES", "1000"))
CASES = 3 * EXAMPLES
SOAK_CASES = 100 * EXAMPLES
MOMENT = datetime(2026, 1, 2, tzinfo=UTC)
COMPARED, REFUSED = "compared", "compared, refused"


def ours(given: Case) -> object:
    matched_by = None if given.query is None else compile_filter(given.query)
    before = copy.deepcopy(given.document)
    try:
        update = compile_update(given.ops, array_filters=given.filters or None, matched_by=matched_by)
        result: object = update.apply(given.document, now=MOMENT, inserting=given.inserting)
    except InvalidUpdateError:
        result = "refused"
    assert given.document == before
    return result


def compared(seed: int, cases: int) -> Counter[str]:
    """Compare so many cases, and count what came of them."""
    rng, oracle, tally = random.Random(seed), Oracle(), Counter[str]()
    for _ in range(cases):
        given = case(rng)
        try:
            expected: object = oracle.result(given)
        except Refused:
            expected = "refused"
        except SetAside as reason:
            tally[str(reason)] += 1
            continue
        tally[REFUSED if expected == "refused" else COMPARED] += 1
        found = ours(given)
        assert exact(timeless(found)) == exact(timeless(expected)), f"{given}: {found}, not {expected}"
        tally.update(given.ops.keys())
    return tally


@pytest.mark.parametrize("seed", range(4))
def test_updates_come_to_what_mongomock_says(seed: int) -> None:
    tally = compared(seed, CASES // 4)

    assert tally[COMPARED] + tally[REFUSED] > 0.9 * (CASES // 4), tally
    assert tally[COMPARED] > 4 * tally[REFUSED], tally


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_a_hundred_thousand_updates_come_to_what_mongomock_says() -> None:
    tally = compared(int(os.environ.get("PARQUEDB_DIFFERENTIAL_SEED", "1000")), SOAK_CASES)

    logging.getLogger(__name__).info("updates: %s", tally.most_common())
    assert tally[COMPARED] + tally[REFUSED] > 0.9 * SOAK_CASES, tally
