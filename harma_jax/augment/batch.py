"""The whole augmentation of a batch: crop, mirror, turn, RandAugment."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from harma_jax.augment.crop import draw_box, resample
from harma_jax.augment.forms import ALL_AT_ONCE, Forms
from harma_jax.augment.rand_augment import draw_operations


def keys_of(seed: jax.Array, epoch: jax.Array, rows: jax.Array) -> jax.Array:
  """Random keys, one per image, that depend on (seed, epoch, row) only.

  Args:
    seed: i32[], of the whole run.
    epoch: i32[].
    rows: i32[B], the images' places in the data set.

  Returns:
    keys [B], always of Threefry: other generators draw differently under `vmap`.
  """
  of_epoch = jax.random.fold_in(jax.random.key(seed, impl='threefry2x32'), epoch)
  return jax.vmap(functools.partial(jax.random.fold_in, of_epoch))(rows)


def augment_batch(
  images: jax.Array,
  sizes: jax.Array,
  keys: jax.Array,
  *,
  side: int,
  crop_scale: tuple[float, float] = (0.5, 1.0),
  flip: bool = True,
  quarter_turns: bool = False,
  rand_augment: tuple[int, float] = (2, 7),
  interpolation: str = 'bicubic',
  forms: Forms = ALL_AT_ONCE,
) -> jax.Array:
  """Augments every image by its own key, bit for bit the same in any batch.

  Args:
    images: u8[B, H, W, 3]; image i is the top left `sizes[i]` of its canvas, and what
      lies beyond has no effect.
    sizes: i32[B, 2], height and width, at least 1.
    keys: random keys [B], of `keys_of`.
    side: pixels of the result.
    crop_scale: the smallest and largest part of the image's area that a crop keeps.
    flip: whether half of the images are mirrored left to right.
    quarter_turns: whether to turn by 0, 90, 180 or 270 degrees, equally often.
    rand_augment: how many operations are drawn and their level of 10; (0, 0): none.
    interpolation: of the crop's resize, `bicubic` or `bilinear`.
    forms: how, see `forms_of`; the pixels are the same. For images of one device: over
      several `shard_map` keeps a loop over images from gathering them.

  Returns:
    u8[B, side, side, 3].
  """
  count, level = rand_augment

  def cut(image, size, key):
    crop_key, flip_key, turn_key, operations_key = jax.random.split(key, 4)
    start, box = draw_box(crop_key, size, scale=crop_scale)
    planes = jnp.moveaxis(image, -1, 0)
    how = {'product': forms.product, 'interpolation': interpolation}
    planes = resample(planes, start, box, side=side, **how)
    if flip:
      mirrored = jax.random.bernoulli(flip_key)
      planes = jnp.where(mirrored, planes[:, :, ::-1], planes)
    if quarter_turns:
      planes = turn(planes, jax.random.randint(turn_key, (), 0, 4))
    return planes, *draw_operations(operations_key, count=count)

  def augment(images, sizes, keys):
    planes, *draws = jax.vmap(cut)(images, sizes, keys)
    planes = forms.operate(planes, *draws, level=level) if count else planes
    return jnp.moveaxis(planes, 1, -1)

  return _in_groups(augment, images, sizes, keys, group=forms.group)


def _in_groups(augment: Callable, *arrays: jax.Array, group: int) -> jax.Array:
  """`augment` of at most `group` rows at a time, where a few groups are equal."""
  count = len(arrays[0])
  least = -(-count // group)
  groups = next((n for n in range(least, 4 * least) if count % n == 0), 1)
  if groups == 1:
    return augment(*arrays)
  cut = [rows.reshape(groups, -1, *rows.shape[1:]) for rows in arrays]
  found = jax.lax.map(lambda rows: augment(*rows), cut)
  return found.reshape(count, *found.shape[2:])


def turn(planes: jax.Array, turns: jax.Array) -> jax.Array:
  """Turns u8[C, side, side] by `turns`, i32[] of 0 to 3, times 90 degrees."""
  planes = jnp.where(turns >= 2, planes[:, ::-1, ::-1], planes)
  return jnp.where(turns % 2 == 1, jnp.rot90(planes, axes=(1, 2)), planes)
