"""Work that several wait for: nobody can take it from the others, and it does not outlive the last of them."""

import asyncio

import pytest

from parquedb.storage.together import Flight


class Work:
    """A piece of work that ends when it is told to, and says how it ended."""

    def __init__(self) -> None:
        self.begun, self.go_on = asyncio.Event(), asyncio.Event()
        self.ended: str | None = None

    async def __call__(self) -> int:
        self.begun.set()
        try:
            await self.go_on.wait()
        except asyncio.CancelledError:
            self.ended = "cancelled"
            raise
        self.ended = "done"
        return 7


async def passenger(flight: Flight[int]) -> int:
    with flight:
        return await flight.result()


async def test_who_gives_up_takes_the_answer_from_nobody_else() -> None:
    work, landed = Work(), []
    flight = Flight(work(), landed.append)
    impatient, patient = (asyncio.create_task(passenger(flight)) for _ in range(2))
    await work.begun.wait()
    impatient.cancel()
    await asyncio.wait({impatient})
    assert (flight.abandoned, work.ended) == (False, None)
    work.go_on.set()
    assert await patient == 7
    assert landed == [flight]


async def test_work_ends_when_the_last_one_gives_up() -> None:
    work, landed = Work(), asyncio.Queue[Flight[int]]()
    flight = Flight(work(), landed.put_nowait)
    passengers = [asyncio.create_task(passenger(flight)) for _ in range(2)]
    await work.begun.wait()
    for one in passengers:
        one.cancel()
    await asyncio.wait(passengers)
    assert flight.abandoned
    assert await landed.get() is flight
    assert work.ended == "cancelled"


async def test_an_error_reaches_everybody_and_nobody_needs_to_hear_it() -> None:
    async def fail() -> int:
        raise ValueError("on purpose")

    landed = asyncio.Queue[Flight[int]]()
    heard = Flight(fail(), landed.put_nowait)
    with pytest.raises(ValueError, match="on purpose"):
        await passenger(heard)
    with Flight(fail(), landed.put_nowait):
        assert [await landed.get(), await landed.get()][0] is heard
