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


@pytest.mark.parametrize("quick", [True, False])
def test_only_items_that_take_long_have_several_threads(monkeypatch, quick):
    """All are in the thread that asks, or the first two."""
    monkeypatch.setattr("keras_preact.data.threads._QUICK", 60.0 if quick else 0.0)
    seen = threaded(lambda item: threading.get_ident(), range(40), chunk=2)
    here = [ident == threading.get_ident() for ident in seen]
    assert here == [True] * 40 if quick else here == [True] * 2 + [False] * 38


def test_an_error_reaches_who_asked():
    with pytest.raises(ZeroDivisionError):
        threaded(lambda item: 1 / (7 - item), range(20), chunk=2)
