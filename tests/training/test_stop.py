"""A run that is asked to stop while it compiles or evaluates has nothing twice."""

import json
import signal

import pytest

from harma_jax.devices.stop import Stopped, StopRequest
from harma_jax.training.loop import train


def rows_of(workdir):
  rows = map(json.loads, (workdir / 'metrics.jsonl').read_text().splitlines())
  return [{k: v for k, v in row.items() if k != 'pairs_per_second'} for row in rows]


@pytest.mark.parametrize(
  ('number', 'noted'),
  [
    pytest.param(1, [], id='while it evaluates the first time'),
    pytest.param(2, [0, 0], id='while the step compiles'),
    pytest.param(3, [0, 0, 1, 2, 3], id='while it evaluates after an epoch'),
    pytest.param(4, [0, 0, 1, 2, 3, 3, 4, 5, 6], id='while it evaluates the last time'),
  ],
)
def test_a_stop_leaves_what_is_waited_for_to_the_next_start(
  small_config, finished_run, tmp_path, monkeypatch, number, noted
):
  waits, unless_asked = [], StopRequest.unless_asked

  def interrupted(self, act):
    waits.append(act)
    if len(waits) == number:
      signal.raise_signal(signal.SIGINT)
    return unless_asked(self, act)

  with monkeypatch.context() as patch:
    patch.setattr(StopRequest, 'unless_asked', interrupted)
    with pytest.raises(Stopped):
      train(small_config(), workdir=tmp_path)
  assert len(waits) == number
  assert [row['step'] for row in rows_of(tmp_path)] == noted
  train(small_config(), workdir=tmp_path)
  assert rows_of(tmp_path) == rows_of(finished_run)
