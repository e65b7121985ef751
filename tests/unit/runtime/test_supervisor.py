import anyio
import pytest

from msa.runtime.supervisor import Ended, for_ever


async def test_a_task_that_ends_takes_the_others_with_it_and_is_named() -> None:
    others: list[str] = []

    async def other() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            others.append("stopped")

    async def short() -> None:
        await anyio.sleep(5)

    with pytest.RaisesGroup(pytest.RaisesExc(Ended, match="the watch of secrets")):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(for_ever, "other", other)
            tasks.start_soon(for_ever, "the watch of secrets", short)
    assert others == ["stopped"]


async def test_an_error_goes_through_as_it_is() -> None:
    async def broken() -> None:
        raise KeyError("bug")

    with pytest.raises(KeyError):
        await for_ever("the watch of secrets", broken)
