import threading

import pytest

from nrpurify.training.photos import Prefetch


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_values_come_in_any_order_that_is_wanted(threads):
    values = Prefetch(lambda index: index**2, 5, threads)
    assert [values.get(index) for index in (0, 1, 2, 2, 4, 1, 7)] == [0, 1, 4, 4, 16, 1, 49]
    values.close()
    assert values.get(3) == 9
    values.close()


def test_the_next_are_made_ahead_and_none_behind_the_last():
    made, last = [], threading.Event()

    def make(index):
        made.append(index)
        if index == 4:
            last.set()
        return index

    values = Prefetch(make, 5, 2)
    values.get(0)
    assert last.wait(30)
    values.close()
    assert sorted(made) == [0, 1, 2, 3, 4]


def test_errors_reach_the_caller():
    def make(index):
        raise ValueError(f"no {index}")

    values = Prefetch(make, 2, 1)
    with pytest.raises(ValueError, match="no 0"):
        values.get(0)
    values.close()
