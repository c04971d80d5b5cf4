"""The garbage collector, set as in a worker: for what is measured in the benchmarks' own process."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

from deploy.cli.app import GC_THRESHOLDS


@contextmanager
def worker_gc_settings() -> Iterator[None]:
    """Collect garbage as seldom as a worker does, until the block ends."""
    before = gc.get_threshold()
    gc.set_threshold(*GC_THRESHOLDS)
    try:
        yield
    finally:
        gc.set_threshold(*before)
