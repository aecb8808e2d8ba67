"""Looking after a namespace's files by hand; by itself the owner does the same when it pays."""

from parquedb.cluster.transport.collection_base import AsyncCollectionBase, CollectionBase


class UpkeepMethods(CollectionBase):
    """What keeps the files of a namespace in order."""

    __slots__ = ()

    def compact(self, *, timeout_s: float | None = None) -> dict[str, int]:
        """Flush, then merge data files until there are as few as useful, sorted, with hardly a dead row.

        Reads and writes go on meanwhile. When the time is over the owner goes on all the same.

        Returns:
            What was done: `compactions`, `files_in`, `files_out`, `rows`, `rows_dropped`, `bytes_in`, `bytes_out`.

        Raises:
            TimeoutError: it takes longer; large namespaces need minutes.
            ParqueDBError: it failed; nothing is lost and nothing half done.
        """
        done: dict[str, int] = self._database._ask(self.namespace, "compact", timeout_s)
        return done


class AsyncUpkeepMethods(AsyncCollectionBase):
    """What keeps the files of a namespace in order."""

    __slots__ = ()

    async def compact(self, *, timeout_s: float | None = None) -> dict[str, int]:
        """Merge data files; see `Collection.compact`."""
        done: dict[str, int] = await self._database._ask(self.namespace, "compact", timeout_s)
        return done
