import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from harma_jax.augment.batch import augment_batch, keys_of, turn
from harma_jax.augment.forms import ALL_AT_ONCE, ONE_BY_ONE

CANVAS, SIDE = 24, 16
OPTIONS = ('side', 'crop_scale', 'flip', 'quarter_turns', 'rand_augment')
augment = functools.partial(jax.jit, static_argnames=OPTIONS)(augment_batch)


@pytest.fixture(scope='module')
def batch():
  """Sixteen images of different sizes on canvases, and their keys."""
  rng = np.random.default_rng(0)
  images = rng.integers(0, 256, (16, CANVAS, CANVAS, 3)).astype(np.uint8)
  sizes = rng.integers(12, CANVAS + 1, (16, 2)).astype(np.int32)
  return images, sizes, keys_of(5, jnp.int32(2), jnp.arange(16))


def test_results_are_pixels_and_differ_from_image_to_image(batch):
  images, sizes, keys = batch
  same = np.broadcast_to(images[:1], images.shape)
  result = np.asarray(augment(same, np.full_like(sizes, CANVAS), keys, side=SIDE))
  assert (result.shape, result.dtype) == ((16, SIDE, SIDE, 3), np.uint8)
  assert len({image.tobytes() for image in result}) == 16


def test_an_image_is_augmented_alike_alone(batch):
  whole = augment(*batch, side=SIDE)
  for i in (11, 3):
    alone = augment(*(part[i : i + 1] for part in batch), side=SIDE)
    np.testing.assert_array_equal(alone[0], whole[i])


def _step(images, sizes, epoch, rows, *, forms):
  return augment_batch(images, sizes, keys_of(5, epoch, rows), side=SIDE, forms=forms)


@pytest.mark.parametrize('forms', [ALL_AT_ONCE, ONE_BY_ONE], ids=['all', 'one by one'])
def test_eight_devices_give_the_bits_of_one(batch, forms):
  images, sizes, _ = batch
  mesh = jax.make_mesh((8,), ('data',), axis_types=(AxisType.Auto,))
  rows, epoch = np.arange(16), np.int32(2)
  step = functools.partial(_step, forms=forms)
  one = jax.jit(step)(images, sizes, epoch, rows)
  cut = P('data')
  step = jax.shard_map(
    step, mesh=mesh, in_specs=(cut, cut, P(), cut), out_specs=cut, check_vma=False
  )
  sharded = jax.device_put((images, sizes, rows), NamedSharding(mesh, cut))
  arguments = (*sharded[:2], epoch, sharded[2])
  compiled = jax.jit(step).lower(*arguments).compile()
  eight = compiled(*arguments)
  assert len(eight.sharding.device_set) == 8
  np.testing.assert_array_equal(eight, one)
  # Every device augments its own images; nothing is exchanged.
  text = compiled.as_text()
  assert not any(name in text for name in ('all-gather', 'all-reduce', 'all-to-all'))


def test_what_lies_beyond_the_valid_size_has_no_effect(batch):
  images, sizes, keys = batch
  row, column = np.arange(CANVAS)[:, None], np.arange(CANVAS)
  beyond = (row >= sizes[:, :1, None]) | (column >= sizes[:, 1:, None])
  for fill in (0, 255):
    changed = np.where(beyond[..., None], np.uint8(fill), images)
    assert (changed != images).any()
    np.testing.assert_array_equal(
      augment(changed, sizes, keys, side=SIDE), augment(images, sizes, keys, side=SIDE)
    )


def test_keys_depend_on_seed_epoch_and_row_only():
  def data(seed, epoch, rows):
    keys = keys_of(seed, jnp.int32(epoch), jnp.asarray(rows))
    return np.asarray(jax.random.key_data(keys))

  first = data(0, 0, [3, 9, 4])
  np.testing.assert_array_equal(first[[1, 1]], data(0, 0, [9, 9]))
  everything = [data(*of, range(50)) for of in [(0, 0), (0, 1), (1, 0), (1, 1)]]
  assert len(np.unique(np.concatenate(everything), axis=0)) == 200


def _quarters(**options):
  """Which quarter of 400 augmented images is bright: 0 to 3, row by row."""
  images = np.zeros((400, 8, 8, 3), np.uint8)
  images[:, :4, :4] = 255
  sizes, keys = np.full((400, 2), 8), keys_of(0, jnp.int32(0), jnp.arange(400))
  options = {'crop_scale': (1.0, 1.0), 'rand_augment': (0, 0)} | options
  result = np.asarray(augment(images, sizes, keys, side=8, **options))
  sums = result.reshape(400, 2, 4, 2, 4, 3).sum((2, 4, 5), dtype=int)
  return np.argmax(sums.reshape(400, 4), axis=1)


def test_half_of_the_images_are_mirrored():
  quarters = _quarters()
  assert set(quarters) == {0, 1}
  assert quarters.mean() == pytest.approx(0.5, abs=0.08)
  assert set(_quarters(flip=False)) == {0}


def test_quarter_turns_are_equally_likely():
  counts = np.bincount(_quarters(flip=False, quarter_turns=True), minlength=4)
  np.testing.assert_allclose(counts / 400, 0.25, atol=0.08)


@pytest.mark.parametrize('turns', range(4))
def test_turns_are_counter_clockwise(turns):
  planes = np.arange(48).reshape(3, 4, 4).astype(np.uint8)
  expected = np.stack([np.rot90(plane, turns) for plane in planes])
  np.testing.assert_array_equal(turn(jnp.asarray(planes), turns), expected)


def test_a_single_pixel_can_be_augmented():
  image = np.zeros((1, 4, 4, 3), np.uint8)
  image[0, 0, 0] = 9, 8, 7
  keys = keys_of(0, jnp.int32(0), jnp.arange(1))
  result = augment(image, np.ones((1, 2), int), keys, side=4, rand_augment=(0, 0))
  np.testing.assert_array_equal(result, np.full((1, 4, 4, 3), (9, 8, 7)))
