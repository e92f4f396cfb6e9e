"""A run that is asked to stop while it compiles has nothing twice."""

import json
import signal

import pytest

from harma_jax.devices.stop import Stopped, StopRequest
from harma_jax.training.loop import train


def rows_of(workdir):
  rows = map(json.loads, (workdir / 'metrics.jsonl').read_text().splitlines())
  return [{k: v for k, v in row.items() if k != 'pairs_per_second'} for row in rows]


def test_a_stop_while_the_step_compiles_evaluates_no_step_again(
  small_config, finished_run, tmp_path, monkeypatch
):
  def interrupted(self, act):
    signal.raise_signal(signal.SIGINT)

  with monkeypatch.context() as patch:
    patch.setattr(StopRequest, 'unless_asked', interrupted)
    with pytest.raises(Stopped):
      train(small_config(), workdir=tmp_path)
  found = [(row['kind'], row['step'], row['split']) for row in rows_of(tmp_path)]
  assert found == [('evaluation', 0, 'test'), ('evaluation', 0, 'val')]
  train(small_config(), workdir=tmp_path)
  assert rows_of(tmp_path) == rows_of(finished_run)
