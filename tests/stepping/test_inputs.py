"""What the device makes of a batch of indices."""

import functools

import jax
import numpy as np
import pytest

from harma_jax.devices.mesh import make_mesh, place_rows
from harma_jax.stepping.inputs import make_inputs
from harma_jax.stepping.microbatch import at_once, make_in_parts

PLAIN = {'side': 6, 'crop_scale': (1.0, 1.0), 'flip': False, 'rand_augment': (0, 0)}
DRAWN = {'side': 6, 'crop_scale': (0.3, 1.0), 'rand_augment': (1, 5)}


@pytest.fixture(scope='module')
def resident():
  rng = np.random.default_rng(0)
  return {
    'tokens': rng.integers(0, 50, (20, 5)).astype(np.int32),
    'images': rng.integers(0, 256, (10, 6, 6, 3)).astype(np.uint8),
    'sizes': np.full((10, 2), 6, np.int32),
  }


@pytest.fixture(scope='module')
def make():
  """`make(**augmentation)`: the inputs over one device, or so many; `size` at once."""

  def build(devices=1, size=0, **augmentation):
    mesh = make_mesh(devices=jax.devices()[:devices])
    over_rows = make_in_parts(size=size, mesh=mesh) if size else at_once
    return jax.jit(make_inputs(mesh=mesh, over_rows=over_rows, **augmentation))

  return build


@pytest.fixture(scope='module')
def batch():
  rows = np.random.default_rng(1).permutation(20)[:8].astype(np.int32)
  epoch = np.full(8, 3, np.int32)
  drawn_from = {'items': rows, 'seed': np.zeros(8, np.int32), 'epoch': epoch}
  return drawn_from | {'image_ids': rows // 2, 'rows': rows}


@pytest.fixture(scope='module')
def drawn(make, resident, batch):
  return jax.device_get(make(**DRAWN)(resident, batch))


def test_rows_of_images_and_captions_are_looked_up(make, resident, batch):
  found = make(**PLAIN)(resident, batch)
  np.testing.assert_array_equal(found['images'], resident['images'][batch['rows'] // 2])
  np.testing.assert_array_equal(found['tokens'], resident['tokens'][batch['rows']])
  assert set(found) == {'images', 'tokens', 'image_ids', 'rows'}


def test_several_captions_an_image(make, resident, batch):
  rows = np.stack([batch['rows'], batch['rows'] ^ 1], axis=1)
  found = make(**PLAIN)(resident, batch | {'rows': rows})
  np.testing.assert_array_equal(found['tokens'], resident['tokens'][rows])


def test_images_of_the_batch_are_as_good_as_resident_ones(make, resident, batch, drawn):
  brought = {name: resident[name][batch['image_ids']] for name in ('images', 'sizes')}
  tokens = {'tokens': resident['tokens']}
  found = make(**DRAWN)(tokens, batch | brought)
  jax.tree.map(np.testing.assert_array_equal, jax.device_get(found), drawn)


@pytest.mark.parametrize(('devices', 'size'), [(1, 3), (2, 4)])
def test_parts_of_a_batch_are_what_the_whole_is(
  make, resident, batch, drawn, devices, size
):
  place = functools.partial(place_rows, mesh=make_mesh(devices=jax.devices()[:devices]))
  pixels = {name: resident[name] for name in ('images', 'sizes')}
  cut = place(
    lambda rows: {name: each[rows] for name, each in pixels.items()}, count=10
  )
  brought = {name: each[batch['image_ids']] for name, each in pixels.items()}
  tokens = {'tokens': resident['tokens']}
  inputs = make(devices=devices, size=size, **DRAWN)
  for found in (inputs(tokens | cut, batch), inputs(tokens, batch | brought)):
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(found), drawn)


def test_devices_do_not_matter(make, resident, batch, drawn):
  """Ten images over eight devices: two each, and the last three hold nothing new."""

  def read(rows):
    return {name: resident[name][rows] for name in ('images', 'sizes')}

  cut = place_rows(read, count=10, mesh=make_mesh())
  found = make(devices=8, **DRAWN)(cut | {'tokens': resident['tokens']}, batch)
  jax.tree.map(np.testing.assert_array_equal, jax.device_get(found), drawn)


def test_an_item_is_augmented_by_seed_epoch_and_itself(make, resident, batch, drawn):
  inputs = make(**DRAWN)
  order = np.random.default_rng(2).permutation(8)
  again = inputs(resident, {name: rows[order] for name, rows in batch.items()})
  np.testing.assert_array_equal(again['images'], drawn['images'][order])
  later = inputs(resident, batch | {'epoch': batch['epoch'] + 1})
  assert (later['images'] != drawn['images']).any()
  other = inputs(resident, batch | {'seed': batch['seed'] + 1})
  assert (other['images'] != drawn['images']).any()


def test_an_image_of_several_captions_is_made_once_by_its_row(make, resident, batch):
  distinct, own = np.unique(batch['image_ids'], return_inverse=True)
  once = batch | {'items': distinct.astype(np.int32), 'own': own.astype(np.int32)}
  found = make(**DRAWN)(resident, once)
  alone = make(**DRAWN)(resident, batch | {'items': batch['image_ids']})
  assert len(found['images']) == len(distinct) < len(batch['rows'])
  np.testing.assert_array_equal(found['images'][own], alone['images'])
  np.testing.assert_array_equal(found['own'], own)
