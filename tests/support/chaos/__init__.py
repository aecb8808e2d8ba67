"""Chaos on real processes: a Ray of several nodes, clients, a store; a seeded schedule of faults; a judge at the end.

    python -m tests.support.chaos --minutes 5 --seed 1

`schedule` says what happens when, `faults` does it, `client` is the load, `records` what everybody was told, `judge`
holds that against the stored chain. One slice is one process (`slice`), so that a dead cluster takes nothing with it.
"""
