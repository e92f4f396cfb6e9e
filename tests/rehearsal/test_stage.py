"""A stage is checked and sized on devices that are not there."""

import pytest

from harma_jax.devices.targets import read_topology
from harma_jax.errors import UserError
from harma_jax.rehearsal.stage import flop_of, lengths_of, read_stage


def test_the_lengths_are_those_of_a_run_the_longest_first(stage, small_config):
  assert lengths_of(stage()) == [8]
  long = {'model.size': 'tiny-16', 'model.adapters': 'none'}
  assert lengths_of(stage(long)) == [24, 16]
  with_data = small_config(long)
  assert lengths_of(read_stage(with_data, read_topology('tpu:8'))) == [16]


def test_a_siglip_whose_tokenizer_is_elsewhere_is_rehearsed(small_config):
  siglip = {'model.size': 'tiny-siglip,vocabulary=60', 'model.adapters': 'none'}
  stage = read_stage(small_config(siglip), read_topology('tpu:8'))
  assert stage.sizes.known
  assert lengths_of(stage) == [24]


def test_flop_are_those_of_the_length(stage):
  short, long = (flop_of(stage(), length=length) for length in (4, 8))
  assert 0.3 < short / long < 1


def test_a_batch_that_the_devices_do_not_divide_is_a_mistake(small_config):
  with pytest.raises(UserError, match='multiple of the 3 devices; found 8'):
    read_stage(small_config(), read_topology('tpu:3'))


@pytest.mark.usefixtures('no_compilers')
def test_cudnn_may_be_asked_for_where_there_is_no_gpu(small_config):
  config = small_config({'data.root': '', 'model.attention': 'cudnn'})
  found = read_stage(config, read_topology('cuda:8'))
  assert found.recipe.model.kernel == 'cudnn'
  with pytest.raises(UserError, match='no NVIDIA GPU'):
    read_stage(config, read_topology('tpu:8'))
