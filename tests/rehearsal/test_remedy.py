"""What would make a step fit is tried in an order, and not guessed."""

import itertools

import pytest

from harma_jax.errors import UserError
from harma_jax.model.transformer import REMAT
from harma_jax.rehearsal.remedy import _parts, candidates, find_remedy, with_fields

POLICIES = [policy for policy in REMAT if policy not in ('auto', 'none')]


@pytest.fixture
def config(small_config):
  return small_config({'model.remat': 'none', 'train.batch_size': 64})


def test_first_more_is_recomputed_then_less_is_learned_from_at_once(config):
  found = list(candidates(config, devices=8, excess=1.5))
  assert [fields['model.remat'] for fields in found[: len(POLICIES)]] == POLICIES
  assert all(fields['model.remat'] == 'block' for fields in found[len(POLICIES) :])
  names = [tuple(fields)[1] for fields in found[len(POLICIES) :]]
  order = [name for name, _ in itertools.groupby(names)]
  known = ['train.microbatch', 'train.batch_size', 'mesh.fsdp']
  assert order == [name for name in known if name in order]
  assert {'train.batch_size', 'mesh.fsdp'} <= set(order)


def test_batches_are_those_that_devices_divide_and_that_should_fit(config):
  found = [
    fields['train.batch_size']
    for fields in candidates(config, devices=8, excess=2.5)
    if 'train.batch_size' in fields
  ]
  assert found == [16, 8]


@pytest.mark.parametrize(
  ('batch', 'below', 'devices', 'excess', 'sizes'),
  [
    (428, 428, 1, 2.5, [107, 54, 27]),
    (428, 428, 4, 1.1, [216, 108, 56]),
    (64, 16, 8, 3.0, [8]),
    (64, 64, 8, 100.0, [8]),
    (8, 8, 8, 2.0, []),
  ],
)
def test_parts_are_even_and_of_all_devices(batch, below, devices, excess, sizes):
  found = _parts(batch, below=below, multiple=devices, excess=excess)
  assert found == sizes


def test_one_device_shards_nothing(config):
  found = list(candidates(config, devices=1, excess=2.0))
  assert not any('mesh.fsdp' in fields for fields in found)


def test_what_is_recomputed_already_is_not_tried_again(config):
  config = with_fields(config, {'model.remat': 'block'})
  first = next(candidates(config, devices=8, excess=2.0))
  assert 'model.remat' not in first


def of(fits):
  size = 2**30 if fits else 2**40
  return {'fits': fits, 'needed_bytes': size, 'available_bytes': 2**35}


def test_the_first_that_fits_is_found_and_the_others_are_told(config):
  def compile_with(changed):
    return of(changed.model.remat == 'block' and changed.train.batch_size <= 32)

  found = find_remedy(config, devices=8, compile_with=compile_with, excess=1.5)
  assert found.fields == {'model.remat': 'block', 'train.batch_size': 32}
  assert {'model.remat': 'block'} in found.in_vain
  assert config.train.batch_size == 64
  message = str(found)
  assert message.startswith(
    'What was compiled and fits, in 1.00 GiB: --config.model.remat=block '
    '--config.train.batch_size=32. Not enough: '
  )


def test_where_nothing_fits_all_are_told_but_those_that_are_mistakes(config):
  def compile_with(changed):
    if changed.train.batch_size < 64:
      raise UserError('no such batch')
    return of(False)

  found = find_remedy(config, devices=8, compile_with=compile_with, excess=1.5)
  assert found.fields is None
  assert found.in_vain[0] == {'model.remat': POLICIES[0]}
  assert not any('train.batch_size' in fields for fields in found.in_vain)
  message = str(found)
  assert message.startswith('Compiled, and did not fit either: --config.model.remat=')
  assert message.endswith('Take more or larger devices.')
