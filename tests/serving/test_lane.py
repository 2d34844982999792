import asyncio
import threading

import pytest

from nrpurify.serving.lane import Lane
from nrpurify.serving.problems import BusyError

pytestmark = pytest.mark.anyio


class Work:
    """Doubles payloads, records its batches, and can be held back."""

    def __init__(self):
        self.batches, self.go = [], threading.Event()
        self.go.set()

    def __call__(self, key, payloads):
        self.batches.append(list(payloads))
        assert self.go.wait(10)
        if "broken" in payloads:
            raise ValueError("broken")
        return [2 * payload for payload in payloads]


@pytest.fixture
def work():
    made = Work()
    yield made
    made.go.set()


@pytest.fixture
async def lane(work):
    made = Lane(work, name="test", places=10, cost=100, seconds=60, batch=3, wait=0.2)
    task = asyncio.create_task(made.serve())
    yield made
    work.go.set()
    made.close()
    await task


async def test_jobs_of_one_key_share_a_batch(lane, work):
    jobs = [lane.do(key, number, 1) for key, number in (("a", 1), ("b", 5), ("a", 2), ("a", 3))]
    assert await asyncio.gather(*jobs) == [2, 10, 4, 6]
    assert sorted(work.batches) == [[1, 2, 3], [5]]


async def test_a_batch_waits_no_longer_than_its_bound(lane, work):
    async with asyncio.timeout(5):
        assert await lane.do("a", 1, 1) == 2
    assert work.batches == [[1]]


async def test_jobs_that_arrive_while_it_works_become_one_batch(lane, work, until):
    work.go.clear()
    first = asyncio.create_task(lane.do("a", 1, 1))
    await until(lambda: work.batches)
    later = [asyncio.create_task(lane.do("a", number, 1)) for number in (2, 3, 4, 5)]
    await until(lambda: lane.waiting == 4)
    work.go.set()
    await asyncio.gather(first, *later)
    assert work.batches == [[1], [2, 3, 4], [5]]


async def test_a_cancelled_job_leaves_the_queue(lane, work, until):
    work.go.clear()
    first = asyncio.create_task(lane.do("a", 1, 1))
    await until(lambda: work.batches)
    gone = asyncio.create_task(lane.do("b", 2, 1))
    await until(lambda: lane.waiting == 1)
    gone.cancel()
    await until(lambda: lane.waiting == 0)
    work.go.set()
    assert await first == 2
    assert work.batches == [[1]]


async def test_a_broken_job_fails_alone(lane):
    jobs = [lane.do("a", payload, 1) for payload in (1, "broken", 3)]
    found = await asyncio.gather(*jobs, return_exceptions=True)
    assert found[0] == 2
    assert isinstance(found[1], ValueError)
    assert found[2] == 6


async def test_places_are_bounded_and_given_back(lane):
    with pytest.raises(BusyError, match="all 10 places"), _places(lane, 10):
        lane.check_room()
    assert lane.held == 0


def _places(lane, count):
    from contextlib import ExitStack

    stack = ExitStack()
    for _ in range(count):
        stack.enter_context(lane.place())
    return stack


async def test_too_many_pixels_are_refused_but_never_the_only_image(lane, work, until):
    assert await lane.do("a", 1, 1000) == 2
    work.go.clear()
    first = asyncio.create_task(lane.do("a", 1, 90))
    await until(lambda: len(work.batches) == 2)
    with pytest.raises(BusyError, match="too many pixels"):
        await lane.do("a", 2, 20)
    work.go.set()
    await first


async def test_images_that_would_wait_too_long_are_refused(work, until):
    lane = Lane(work, name="test", places=10, seconds=0.1)
    lane.pace = 1.0
    task = asyncio.create_task(lane.serve())
    work.go.clear()
    first = asyncio.create_task(lane.do("a", 1, 5))
    await until(lambda: work.batches)
    with pytest.raises(BusyError, match="about 5 s") as refused:
        await lane.do("a", 2, 1)
    assert 1 <= refused.value.retry_after <= 60
    work.go.set()
    await first
    lane.close()
    await task


async def test_a_job_that_does_not_begin_in_time_is_refused_and_one_at_work_is_not(work, until):
    lane = Lane(work, name="test", places=10, seconds=0.05)
    task = asyncio.create_task(lane.serve())
    work.go.clear()
    first = asyncio.create_task(lane.do("a", 1, 5))
    await until(lambda: work.batches)
    with pytest.raises(BusyError, match="took too long"):
        await lane.do("a", 2, 1)
    assert lane.waiting == 0
    work.go.set()
    assert await first == 2
    lane.close()
    await task


async def test_closing_finishes_what_holds_a_place(work):
    lane = Lane(work, name="test", places=10, seconds=60)
    task = asyncio.create_task(lane.serve())
    with lane.place():
        lane.close()
        with pytest.raises(BusyError, match="shutting down"):
            lane.check_room()
        await asyncio.sleep(0.02)
        assert not task.done()
        assert await lane.do("a", 4, 1) == 8
    await asyncio.wait_for(task, 5)


@pytest.mark.parametrize("lasts", [True, False])
async def test_a_thread_of_its_own_ends_with_its_batch(until, lasts):
    threads = []

    def work(key, payloads):
        threads.append(threading.current_thread())
        return payloads

    lane = Lane(work, name="test", places=10, seconds=60, lasts=lasts)
    task = asyncio.create_task(lane.serve())
    assert [await lane.do("a", number, 1) for number in (1, 2)] == [1, 2]
    first, second = threads
    if lasts:
        assert first is second
        assert first.is_alive()
    else:
        await until(lambda: not first.is_alive() and not second.is_alive())
    lane.close()
    await task
