import os
import threading
import time

from nrpurify.core.claims import Claims


def test_a_claim_is_held_by_one(tmp_path):
    one, two = Claims(tmp_path / "claims"), Claims(tmp_path / "claims")
    with one.held("a") as got:
        assert got
        with two.held("a") as other:
            assert not other
        with two.held("b") as other:
            assert other
        assert [path.name for path in (tmp_path / "claims").iterdir()] == ["a.claim"]
    with two.held("a") as got:
        assert got
    assert list(tmp_path.iterdir()) == []


def test_a_claim_of_a_dead_process_expires(tmp_path):
    claims = Claims(tmp_path, lifetime=100)
    left = tmp_path / "a.claim"
    left.touch()
    with claims.held("a") as got:
        assert not got
    old = time.time() - 101
    os.utime(left, (old, old))
    with claims.held("a") as got:
        assert got
        with Claims(tmp_path, lifetime=100).held("a") as other:
            assert not other


def test_a_claim_that_is_held_is_renewed(tmp_path):
    claims = Claims(tmp_path, lifetime=0.4)
    with claims.held("a"):
        for _ in range(10):
            time.sleep(0.1)
            with Claims(tmp_path, lifetime=0.4).held("a") as other:
                assert not other


def test_of_many_at_once_one_gets_it(tmp_path):
    got, start = [], threading.Barrier(8)

    def take():
        start.wait()
        with Claims(tmp_path / "claims").held("a") as mine:
            got.append(mine)
            time.sleep(0.2)

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got) == [False] * 7 + [True]
