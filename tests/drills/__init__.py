"""Incidents that really happen to a real cluster, mended by what the runbook says.

    python -m tests.drills                     # all of them, and a table in the end: make drills
    python -m tests.drills --only storage-down

__main__    what is asked for; the table
drill       the five steps of a drill, each with its bound
stage       the database, gateway, callers and Prometheus of one drill
incidents   what goes wrong, and how each site command mends it
runbook     docs/runbook.md, read
"""
