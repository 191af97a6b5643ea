"""Batches sharded over devices, in processes of their own: the number of devices is fixed when JAX begins."""

import subprocess
import sys

import on_four_devices
import on_two_devices
import pytest
from helpers import full


def run(script, *args):
    done = subprocess.run([sys.executable, script.__file__, *args], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.full
def test_shard_map_over_the_batch():
    """Against one device, first and second derivatives: weights' gradients are summed over the devices."""
    assert run(on_two_devices) == [*on_two_devices.RUNS, "scan"]


FAST = ("lstm, as chosen", "softmax_cross_entropy")


@pytest.mark.parametrize("problem", full(on_four_devices.PROBLEMS, but=FAST))
def test_a_sharded_batch_stays_where_it_is(problem):
    """Gradients equal; nothing but weights' gradients between devices; temporaries as a plain scan's."""
    assert run(on_four_devices, problem) == [f"{problem}, {how}" for how in on_four_devices.forms(problem)]
