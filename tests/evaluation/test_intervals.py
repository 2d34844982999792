import pytest
from hypothesis import given
from hypothesis import strategies as st

from nrpurify.evaluation import wilson_interval


def test_known_interval():
    assert wilson_interval(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)


def test_no_trial_says_nothing():
    assert wilson_interval(0, 0) == (0.0, 1.0)


@given(st.integers(1, 2000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_interval_holds_the_share(case):
    correct, total = case
    low, high = wilson_interval(correct, total)
    assert 0 <= low <= correct / total + 1e-12
    assert correct / total - 1e-12 <= high <= 1


@given(st.integers(1, 500))
def test_interval_shrinks_with_more_trials(total):
    narrow, wide = wilson_interval(2 * total, 4 * total), wilson_interval(total, 2 * total)
    assert narrow[1] - narrow[0] < wide[1] - wide[0]
