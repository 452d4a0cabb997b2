"""Work on many images at once."""

import os
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

#: Seconds for an item below which one thread does all, and how many items tell.
_QUICK, _TRIED = 2e-4, 2


def threaded(
    function: Callable,
    items: Iterable[Any],
    on_progress: Callable[[int, int], None] | None = None,
    chunk: int = 256,
) -> list:
    """`[function(item) for item in items]` on all processors; `on_progress(done, total)`.

    Where the first items take less than `_QUICK` seconds each, which is mostly Python's own time,
    one thread does all: several would wait for the interpreter's lock more than they gain.

    Example:
        >>> from keras_preact.data.threads import threaded
        >>> threaded(abs, [-1, 2, -3])
        [1, 2, 3]
    """
    items = list(items)

    def work(start: int, stop: int | None = None) -> list:
        return [function(item) for item in items[start : stop or start + chunk]]

    before = time.perf_counter()
    results = work(0, _TRIED)
    is_quick = time.perf_counter() - before < _QUICK * len(results)
    rest = range(_TRIED, len(items), chunk)
    with ThreadPoolExecutor(1 if is_quick else os.cpu_count()) as pool:
        for part in map(work, rest) if is_quick else pool.map(work, rest):
            results.extend(part)
            if on_progress:
                on_progress(len(results), len(items))
    if on_progress and results and not rest:
        on_progress(len(results), len(items))
    return results
