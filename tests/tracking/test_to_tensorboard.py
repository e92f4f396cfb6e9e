"""TensorBoard, read back with its own reader."""

import collections

import pytest

pytest.importorskip('tensorboardX')
accumulator = pytest.importorskip(
  'tensorboard.backend.event_processing.event_accumulator'
)


@pytest.fixture
def events(stopped_and_resumed, tmp_path):
  stopped_and_resumed(['tensorboard'])
  folder = tmp_path / 'runs/seed_3/tensorboard'
  assert len(list(folder.iterdir())) == 2
  found = accumulator.EventAccumulator(str(folder))
  return found.Reload()


def test_the_curve_of_a_resumed_run_is_whole(events):
  points = [(event.step, event.value) for event in events.Scalars('train/loss')]
  assert points == [(step, 10.0 - step) for step in range(1, 9)]
  assert [event.step for event in events.Scalars('test/mean_recall')] == [6]


def test_tables_and_config_are_texts(events):
  tags = events.Tags()['tensors']
  assert collections.Counter(tags) == {
    'config/text_summary': 1,
    'results/test/text_summary': 1,
  }
  [table] = events.Tensors('results/test/text_summary')
  assert '| step 6, selected | 7.00 |' in table.tensor_proto.string_val[0].decode()
  [config] = events.Tensors('config/text_summary')
  assert '| train.batch_size | 8 |' in config.tensor_proto.string_val[0].decode()
