"""What a worker process is set to, and what is taken out of shared memory."""

import multiprocessing
import signal

import grain
import numpy as np

from harma_jax.data.processes import held_signals
from harma_jax.data.workers import start_worker, take_over


def test_a_worker_takes_no_device_and_leaves_signals_to_its_parent():
  def look(_):
    import jax
    from jax._src import xla_bridge

    return {
      'held': signal.pthread_sigmask(signal.SIG_BLOCK, ()),
      'platforms': jax.config.jax_platforms,
      'initialised': bool(xla_bridge._backends),
      'process': multiprocessing.current_process().pid,
    }

  before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
  dataset = grain.MapDataset.range(1).map(look).to_iter_dataset()
  one = grain.MultiprocessingOptions(num_workers=1)
  with held_signals():
    (found,) = dataset.mp_prefetch(one, start_worker)
  assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before
  assert found.pop('held') >= {signal.SIGINT, signal.SIGTERM}
  assert found.pop('process') != multiprocessing.current_process().pid
  assert found == {'platforms': 'cpu', 'initialised': False}


def test_arrays_are_copied_and_the_rest_stays():
  class Shared(np.ndarray):
    pass

  shared = np.arange(6, dtype=np.int32).reshape(2, 3).view(Shared)
  batch, length = take_over(({'rows': shared}, 7))
  assert type(batch['rows']) is np.ndarray
  assert not np.shares_memory(batch['rows'], shared)
  np.testing.assert_array_equal(batch['rows'], shared)
  assert length == 7
