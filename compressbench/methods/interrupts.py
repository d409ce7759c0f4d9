"""Ctrl-C between two training steps rather than within one, where half of the weights would have moved."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def deferred_interrupts() -> Iterator[Callable[[], None]]:
    """Inside, the first Ctrl-C waits until the function that is yielded is called; a second one acts at once.

    Only the main thread is ever interrupted; elsewhere nothing changes.
    """
    asked = False
    before = signal.getsignal(signal.SIGINT)

    def raise_if_asked() -> None:
        nonlocal asked
        if asked:
            asked = False
            raise KeyboardInterrupt

    def wait(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            signal.default_int_handler(number, frame)
        asked = True

    # A handler of somebody else's (or none: Ctrl-C is ignored in the background) is left alone.
    is_ours = threading.current_thread() is threading.main_thread() and before is signal.default_int_handler
    if is_ours:
        signal.signal(signal.SIGINT, wait)
    try:
        yield raise_if_asked
    finally:
        if is_ours:
            signal.signal(signal.SIGINT, before)
    raise_if_asked()
