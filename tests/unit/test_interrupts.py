"""Ctrl-C while a training step is under way."""

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from compressbench.methods.interrupts import deferred_interrupts


@pytest.fixture(autouse=True)
def ctrl_c_interrupts() -> Iterator[None]:
    """Python's own handler, which a process started in the background does not get."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def press_ctrl_c() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_the_first_one_waits_for_its_moment() -> None:
    reached = []

    def work() -> None:
        with deferred_interrupts() as raise_if_asked:
            raise_if_asked()
            press_ctrl_c()
            reached.append("the end of the step")
            raise_if_asked()
            reached.append("beyond")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert reached == ["the end of the step"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_the_second_one_does_not_wait() -> None:
    reached = []

    def work() -> None:
        with deferred_interrupts():
            press_ctrl_c()
            reached.append("still within the step")
            press_ctrl_c()
            reached.append("beyond")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert reached == ["still within the step"]


def test_one_that_nothing_asked_for_is_not_lost() -> None:
    with pytest.raises(KeyboardInterrupt), deferred_interrupts():
        press_ctrl_c()


def test_handlers_of_others_and_other_threads_are_left_alone() -> None:
    met = []
    before = signal.signal(signal.SIGINT, lambda number, frame: met.append(number))
    try:
        with deferred_interrupts() as raise_if_asked:
            press_ctrl_c()
            raise_if_asked()
    finally:
        signal.signal(signal.SIGINT, before)
    assert met == [signal.SIGINT]

    def in_a_thread() -> None:
        with deferred_interrupts() as raise_if_asked:
            raise_if_asked()
            met.append(signal.getsignal(signal.SIGINT) is signal.default_int_handler)

    thread = threading.Thread(target=in_a_thread)
    thread.start()
    thread.join()
    assert met[1:] == [True]
