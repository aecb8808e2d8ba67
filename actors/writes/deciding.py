"""Deciding one write of a group: what it comes to, if the group's entry lands."""

from parquedb.actors.requests.operations import Outcome
from parquedb.actors.state.sessions import Receipt
from parquedb.actors.writes.calls import Write
from parquedb.actors.writes.commit_group import Group, NotLoaded
from parquedb.actors.writes.create_run import CreateRun
from parquedb.actors.writes.receipts import answered
from parquedb.actors.writes.schemas import decide_run
from parquedb.actors.writes.unforeseen import told
from parquedb.errors import ParqueDBError


def decide(write: Write, group: Group, namespace: str, next_seq: int) -> Outcome:
    """Add what a write changes to the draft of its group, and return what it comes to.

    Args:
        write: It has been admitted: no second look for a receipt, for any retry of it since then joins it.
        group: What is decided together.
        namespace: Whose.
        next_seq: That the group's first change will take.

    Raises:
        NotLoaded: a document must be fetched first; nothing has been added.
    """
    first = group.draft.count
    try:
        if isinstance(write, CreateRun):
            created, settled = decide_run(write, namespace, group.draft)
            group.records.extend(settled)
            return Outcome(created, seq=next_seq + first)
        value = write.prepared.run(group.draft)
    except NotLoaded:
        raise
    except ParqueDBError as error:
        return Outcome(error=error)
    except Exception as error:
        if group.draft.count != first:
            raise  # A part of it is in the draft, which nobody can take out again: better no owner than a wrong one.
        return Outcome(error=told(error, namespace, write.prepared.kind))
    seq = next_seq + group.draft.count - 1
    if group.draft.count == first:
        return Outcome(value, seq=seq)
    change = answered(write, value, group.draft, first)
    if write.request is not None:
        size = write.prepared.size if change.encoded is None else len(change.encoded)
        group.records.append((change.record(write.request), Receipt(change.kind, seq, value, size=size)))
    return Outcome(value, None, seq, False, change.encoded)
