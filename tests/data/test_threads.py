"""Work on many images: in order, on as many threads as help, with progress and errors."""

import threading
import time

import pytest

from keras_preact.data.threads import threaded


@pytest.mark.parametrize("count", [0, 1, 2, 3, 50])
@pytest.mark.parametrize("seconds", [0, 0.001])
def test_results_are_in_order_and_progress_ends(count, seconds):
    told = []

    def work(item):
        time.sleep(seconds * (item % 3))
        return -item

    found = threaded(work, range(count), lambda *progress: told.append(progress), chunk=4)
    assert found == [-item for item in range(count)]
    assert [total for _, total in told] == [count] * len(told)
    assert not count or told[-1] == (count, count)


def test_slow_items_have_several_threads_from_the_third_on():
    seen = []

    def work(item):
        time.sleep(0.002)
        seen.append((item, threading.get_ident()))

    threaded(work, range(40), chunk=2)
    here = threading.get_ident()
    assert [item for item, thread in seen if thread == here] == [0, 1]
    seen.clear()
    threaded(lambda item: seen.append((item, threading.get_ident())), range(4000))
    assert {thread for _, thread in seen} == {here}


def test_an_error_reaches_who_asked():
    with pytest.raises(ZeroDivisionError):
        threaded(lambda item: 1 / (7 - item), range(20), chunk=2)
