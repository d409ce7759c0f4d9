"""Freed memory is reused inside, and given back afterwards."""

import ctypes
import multiprocessing
import resource
import sys
from concurrent.futures import ProcessPoolExecutor

import pytest
import torch

from compressbench.memory import freed_memory_kept

BLOCK_NUMBERS = 8 * 1024 * 1024
PAGES = 4 * BLOCK_NUMBERS // resource.getpagesize()


def faults_of_steps(count: int) -> int:
    """Page faults of steps that each allocate a few blocks and free them, as training does."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(count):
        blocks = [torch.empty(BLOCK_NUMBERS // part).fill_(1.0) for part in (1, 2, 4)]
        del blocks
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def faults_inside_and_outside() -> tuple[int, int]:
    with freed_memory_kept():
        with freed_memory_kept():
            pass  # and its end is not the end
        faults_of_steps(8)  # the heap grows until the blocks of a step fit into what the last one freed
        inside = faults_of_steps(8)
    return inside, faults_of_steps(8)


def test_steps_reuse_memory_inside_and_map_it_anew_outside() -> None:
    # In a process of its own, for a heap that other tests left full of holes holds a block or two in them. A hole of
    # its own may still do so, so that not all of the 14 x PAGES of eight steps need come: 9 to 14 did.
    with ProcessPoolExecutor(max_workers=1, mp_context=multiprocessing.get_context("spawn")) as process:
        inside, outside = process.submit(faults_inside_and_outside).result()
    is_glibc = sys.platform == "linux" and hasattr(ctypes.CDLL(None), "gnu_get_libc_version")
    assert not is_glibc or (inside < PAGES and outside > 4 * PAGES)


def test_an_error_inside_comes_out() -> None:
    with pytest.raises(KeyError), freed_memory_kept():
        raise KeyError("x")
