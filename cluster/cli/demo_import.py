"""Import the data set with a progress bar: five namespaces, several `create_many` calls in flight."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeElapsedColumn
from rich.text import Text

from parquedb import AsyncDatabase
from parquedb.cluster.cli.demo_data import DataSet, Document
from parquedb.cluster.cli.demo_screen import Screen

CHUNK_DOCUMENTS = 2_000
# More calls in flight only wait in the owner's queue; two already hide the time a commit takes.
CALLS_IN_FLIGHT = 4


class RateColumn(ProgressColumn):
    """Acknowledged documents per second."""

    def render(self, task: Task) -> Text:
        """Word the rate of one bar."""
        took_s = task.finished_time or task.elapsed
        return Text(f"{task.completed / took_s:>7,.0f}/s" if took_s and task.completed else "", style="green")


@dataclass
class Imported:
    """What an import came to.

    Attributes:
        documents: Acknowledged documents (count), by namespace.
        opened_s: Seconds until every owner had started.
        refused: What was refused instead, at most a few.
        took_s: Seconds from the first call to the last acknowledgement, of all five.
    """

    documents: dict[str, int]
    refused: list[str] = field(default_factory=list)
    opened_s: float = 0.0
    took_s: float = 0.0

    @property
    def total(self) -> int:
        """All acknowledged documents."""
        return sum(self.documents.values())


async def import_all(db: AsyncDatabase, data: Sequence[DataSet], screen: Screen) -> Imported:
    """Import every data set, all at once; each has its own owner."""
    imported = Imported({part.namespace: 0 for part in data})
    started_s = time.perf_counter()
    await asyncio.gather(*(db.collection(part.namespace).exists("any") for part in data))
    imported.opened_s = time.perf_counter() - started_s
    progress = Progress(
        TextColumn("  {task.description:<9}"),
        BarColumn(bar_width=28),
        MofNCompleteColumn(),
        RateColumn(),
        TimeElapsedColumn(),
        console=screen.console,
        # They stay as they are: the demo has sent them elsewhere (see `demo.silence`).
        redirect_stdout=False,
        redirect_stderr=False,
    )
    started_s = time.perf_counter()
    with progress:
        bars = {part.namespace: progress.add_task(part.namespace, total=part.table.num_rows) for part in data}

        def acknowledged(namespace: str, count: int) -> None:
            imported.documents[namespace] += count
            progress.update(bars[namespace], advance=count)

        async def import_one(part: DataSet) -> None:
            collection = db.collection(part.namespace)
            chunks = part.chunks(CHUNK_DOCUMENTS)

            async def send() -> None:
                # The iterator is shared: every sender takes the next chunk when it is free.
                for chunk in chunks:
                    results = await collection.create_many(chunk)
                    errors = [result for result in results if isinstance(result, Exception)]
                    imported.refused.extend(str(error) for error in errors[:3])
                    acknowledged(part.namespace, len(chunk) - len(errors))

            await asyncio.gather(*(send() for _ in range(CALLS_IN_FLIGHT)))

        await asyncio.gather(*(import_one(part) for part in data))
    imported.took_s = time.perf_counter() - started_s
    return imported


def sample(data: Sequence[DataSet], namespace: str, count: int) -> list[Document]:
    """Pick documents evenly spread over a data set, to be read back."""
    (part,) = (part for part in data if part.namespace == namespace)
    step = max(1, part.table.num_rows // count)
    picked = part.table.take(list(range(0, part.table.num_rows, step))[:count])
    return next(DataSet(namespace, picked, part.id_of).chunks(count))
