"""Shapes of a run that is not there are those of one that is."""

import jax
import pytest

from harma_jax.building.abstract import (
  TrainSizes,
  abstract_inputs,
  for_platform,
  train_sizes,
)
from harma_jax.building.data import (
  build_batches,
  build_pixels,
  build_table,
  place_images,
)
from harma_jax.building.model import build_model
from harma_jax.building.text import build_tokens
from harma_jax.devices.mesh import make_mesh, place_batch, place_everywhere


def test_a_platform_decides_what_the_config_leaves_open(small_config):
  config = small_config()
  assert for_platform(config, 'cpu').model.dtype == 'auto'
  assert for_platform(config, 'tpu').model.dtype == 'bfloat16'
  named = small_config({'model.dtype': 'float32'})
  assert for_platform(named, 'cuda').model.dtype == 'float32'
  assert config.model.dtype == 'auto'


@pytest.mark.parametrize('captions', [1, 2])
@pytest.mark.parametrize('cache', ['device', 'host'])
def test_abstract_inputs_are_those_of_a_run(small_config, cache, captions):
  config = small_config({'data.cache': cache, 'data.captions_per_image': captions})
  model, on_device = build_model(config), cache == 'device'
  table = build_table(config, 'train')
  pixels, _ = build_pixels(config, table)
  tokens = build_tokens(config, table, model)
  batch, _ = next(
    build_batches(
      config,
      table,
      tokens,
      pixels=None if on_device else pixels,
      lengths=(),
      n_distinct=0,
      first_step=0,
      last_step=1,
    )
  )
  mesh = make_mesh()
  images = place_images(config, pixels, mesh=mesh) if on_device else {}
  placed = place_everywhere({'tokens': tokens}, mesh=mesh) | images
  found = abstract_inputs(config, model, mesh=mesh, sizes=train_sizes(config))
  given = placed, place_batch(batch, mesh=mesh)
  same = jax.tree.map(
    lambda one, other: (
      (one.shape, one.dtype, one.sharding) == (other.shape, other.dtype, other.sharding)
    ),
    found,
    given,
  )
  assert jax.tree.all(same)


def test_sizes_are_assumed_where_no_data_are_there(small_config):
  changes = {'data.root': '/no/such/folder', 'data.captions_per_image': 2}
  assert train_sizes(small_config(changes)) == TrainSizes(
    images=8, captions=16, canvas=(256, 256), known=False, on_device=False
  )
  assert train_sizes(small_config()) == TrainSizes(
    images=12, captions=24, canvas=(32, 32), known=True, on_device=False
  )


def test_images_go_to_devices_that_have_room_for_them(small_config):
  config = small_config({'data.cache': 'auto'})
  bytes_of_images = 12 * 32 * 32 * 3
  found = [
    train_sizes(config, device_bytes=room).on_device
    for room in (None, bytes_of_images, 3 * bytes_of_images)
  ]
  assert found == [False, False, True]
  unknown = small_config({'data.cache': 'auto', 'data.root': ''})
  assert not train_sizes(unknown, device_bytes=10**12).on_device
