"""What the machine is used as."""

import ctypes
import resource
import sys

import pytest
import torch

from latelier.machine import memory_kept


def faults_of_steps() -> int:
    """Pages asked of the system by steps that make and drop tensors of 24 MB."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        tensors = [torch.ones(6 << 20) for _ in range(3)]
        del tensors
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@pytest.mark.skipif(sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "mallopt"), reason="glibc's allocator")
def test_memory_that_a_step_frees_is_there_for_the_next():
    usual = faults_of_steps()
    with memory_kept():
        faults_of_steps()
        kept = faults_of_steps()
    assert kept < 0.1 * usual
    assert faults_of_steps() > kept  # and afterwards what is free goes back to the system
