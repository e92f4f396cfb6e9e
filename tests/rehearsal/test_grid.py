"""Records of several targets, batches and lengths."""

import pytest

from harma_jax.devices.targets import read_topology
from harma_jax.errors import UserError
from harma_jax.rehearsal import grid
from harma_jax.rehearsal.grid import measure_compiled
from harma_jax.rehearsal.remedy import Remedy


@pytest.fixture(autouse=True)
def prepared(monkeypatch):
  """The devices of the tests are there already."""
  monkeypatch.setattr(grid, 'prepare', lambda topologies: None)


def topologies(*texts):
  return [read_topology(text) for text in texts]


def test_each_combination_has_a_record(small_config):
  config = small_config({'data.root': ''})
  found = measure_compiled(
    config, topologies=topologies('tpu:8', 'cuda:4'), batches=[8, 16], lengths=[8, 4]
  )
  assert found['mode'] == 'compiled'
  names = ('target', 'devices', 'pairs', 'tokens')
  assert [tuple(record[name] for name in names) for record in found['programs']] == [
    ('tpu:8', 8, 8, 8),
    ('tpu:8', 8, 8, 4),
    ('tpu:8', 8, 16, 8),
    ('tpu:8', 8, 16, 4),
    ('cuda:4', 4, 8, 8),
    ('cuda:4', 4, 8, 4),
    ('cuda:4', 4, 16, 8),
    ('cuda:4', 4, 16, 4),
  ]
  first, *_ = found['programs']
  assert (first['compiler'], first['fits'], first['remat']) == (None, None, 'outputs')
  assert first['memory']['weights'] > 0
  assert 'remedy' not in first


@pytest.mark.parametrize('wanted', [True, False])
def test_where_a_step_does_not_fit_the_record_says_what_would(
  small_config, monkeypatch, wanted
):
  monkeypatch.setattr(
    grid,
    'rehearse',
    lambda stage, *, length: {
      'target': 'v5e:2x2',
      'size': 'toy',
      'pairs': 8,
      'tokens': length,
      'remat': 'none',
      'fits': False,
      'refused': True,
      'needed_bytes': 2,
      'available_bytes': 1,
    },
  )
  remedy = Remedy(fields={'model.remat': 'block'}, needed=1, in_vain=())
  monkeypatch.setattr(grid, 'remedy_of', lambda stage, record: remedy)
  config = small_config({'data.root': ''})
  found = measure_compiled(config, topologies=topologies('tpu:8'), remedy=wanted)
  (record,) = found['programs']
  expected = {'fields': {'model.remat': 'block'}, 'needed': 1, 'in_vain': ()}
  assert record.get('remedy') == (expected if wanted else None)


def test_a_length_that_captions_do_not_have_is_a_mistake(small_config):
  config = small_config({'data.root': ''})
  with pytest.raises(UserError, match='at most 8, the positions of toy; found 77'):
    measure_compiled(config, topologies=topologies('tpu:8'), lengths=[77])
