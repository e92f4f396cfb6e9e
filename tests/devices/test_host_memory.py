"""That freed memory stays with the process, seen in a program of its own."""

import subprocess
import sys

import pytest

from harma_jax.devices import host_memory

FAULTS = """
import resource, sys
import numpy as np
from harma_jax.devices.host_memory import keep_host_memory
print(keep_host_memory())
def faults():
  before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
  np.ones(2**26, np.uint8)
  return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(faults())
"""
PAGES = 2**26 // 4096


def faults_of_a_second_array(environment) -> tuple[str, int]:
  done = subprocess.run(
    [sys.executable, '-c', FAULTS],
    env=environment,
    capture_output=True,
    text=True,
    check=True,
  )
  kept, count = done.stdout.split()
  return kept, int(count)


@pytest.mark.skipif(sys.platform != 'linux', reason='glibc is on Linux')
def test_a_second_array_takes_the_place_of_the_first(environment):
  bare = environment | {'MALLOC_ARENA_MAX': ''}
  assert faults_of_a_second_array(bare) == ('True', pytest.approx(0, abs=64))
  own = environment | {'MALLOC_ARENA_MAX': '4'}
  kept, count = faults_of_a_second_array(own)
  assert kept == 'False'
  assert count > 64


def test_a_process_with_an_accelerator_is_left_alone(monkeypatch):
  monkeypatch.delenv('JAX_PLATFORMS', raising=False)
  monkeypatch.setattr(host_memory.importlib.util, 'find_spec', lambda name: object())
  assert not host_memory.keep_host_memory()
