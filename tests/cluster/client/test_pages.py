from parquedb.cluster.client.pages import AsyncFind, AsyncPage, Page


def page_at(cursor: str) -> Page:
    start = int(cursor)
    more = str(start + 2) if start < 4 else None
    return Page([{"n": start}, {"n": start + 1}], more, following=page_at)


async def async_page_at(cursor: str) -> AsyncPage:
    page = page_at(cursor)
    return AsyncPage(page.items, page.next_cursor, following=async_page_at)


def test_iterating_a_page_follows_the_cursor_to_the_end() -> None:
    assert [document["n"] for document in page_at("0")] == [0, 1, 2, 3, 4, 5]


def test_a_page_can_be_iterated_again() -> None:
    page = page_at("2")
    assert list(page) == list(page)


def test_a_page_says_whether_more_follows() -> None:
    assert page_at("0").has_more
    assert not page_at("4").has_more
    assert list(Page([])) == []


async def test_async_iteration_follows_the_cursor_too() -> None:
    assert [document["n"] async for document in await async_page_at("0")] == [0, 1, 2, 3, 4, 5]


async def test_an_async_query_is_awaited_for_a_page_or_iterated_for_all() -> None:
    query = AsyncFind(lambda: async_page_at("2"))
    assert (await query).items == [{"n": 2}, {"n": 3}]
    assert [document["n"] async for document in query] == [2, 3, 4, 5]
