"""Batches that are made to fit the devices, of shipped configs and by a flag."""

import logging

import jax
import pytest

from harma_jax.building.batch import fit_batch
from harma_jax.building.check import check_config
from harma_jax.building.config_file import load_config, shipped_names
from harma_jax.building.stages import stages
from harma_jax.devices.mesh import make_mesh
from harma_jax.errors import UserError

# What 428, the released batch, becomes.
OF_428 = {1: 428, 2: 428, 4: 428, 8: 432, 32: 416}


@pytest.mark.parametrize(('count', 'size'), OF_428.items())
def test_the_nearest_multiple_is_taken(small_config, count, size, caplog):
  config = small_config({'train.batch_size': 428, 'train.batch_rounding': 'nearest'})
  with caplog.at_level(logging.INFO, logger='absl'):
    fitted = fit_batch(config, count=count)
  assert fitted.train.batch_size == size
  assert (fitted is config) == (size == 428)
  assert ('becomes' in caplog.text) == (size != 428)
  assert config.train.batch_size == 428


def test_a_number_that_is_meant_stays_and_is_refused(small_config):
  config = small_config({'train.batch_size': 12})
  assert fit_batch(config, count=8) is config
  message = r'The nearest is 16: .*=16\. --config\.train\.batch_size=auto:12 takes it'
  with pytest.raises(UserError, match=message):
    check_config(config)
  auto = small_config({'train.batch_size': 12, 'train.batch_rounding': 'nearest'})
  check_config(fit_batch(auto, count=8))


@pytest.mark.parametrize('size', [0, -8])
def test_no_batch_is_no_batch(small_config, size):
  with pytest.raises(UserError, match=f'found {size}. The nearest is 8: [^ ]*=8.$'):
    check_config(small_config({'train.batch_size': size}))


def test_an_unknown_rounding_is_the_users_mistake(small_config):
  with pytest.raises(UserError, match="one of none, nearest; found 'up'"):
    check_config(small_config({'train.batch_rounding': 'up'}))


@pytest.mark.parametrize('count', OF_428)
@pytest.mark.parametrize('name', [n for n in shipped_names() if n != 'common.py'])
def test_each_shipped_config_runs_on_so_many_devices_as_it_is(name, count, tmp_path):
  config = load_config(name)
  if config.model.size == 'auto':
    config.model.size = 'ViT-B-32'
  before = config.train.batch_size
  for stage in stages(config, workdir=tmp_path).values():
    fitted = fit_batch(stage, count=count)
    assert fitted.train.batch_size % count == 0
    assert fitted.evaluation.batch_size % count == 0
    assert count > 4 or fitted.train.batch_size == before
    if count <= jax.device_count():
      check_config(fitted, devices=jax.devices()[:count])
      assert make_mesh(devices=jax.devices()[:count]).size == count
