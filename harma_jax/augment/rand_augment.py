"""RandAugment as in ALBEF, for a batch of images that each draw their operations."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from harma_jax.augment import color, geometry

OPERATIONS = (
  *('Identity', 'AutoContrast', 'Equalize', 'Brightness', 'Sharpness'),
  *('ShearX', 'ShearY', 'TranslateX', 'TranslateY', 'Rotate'),
)
# What does the work of each: nothing, a table, a blend or a warp.
_STAGES = (0, 1, 1, 1, 2, 3, 3, 3, 3, 3)
_COUNTED = (0, 1, 1, 0, 0, 0, 0, 0, 0, 0)
_APPLY_PROBABILITY = 0.5


def draw_operations(key: jax.Array, *, count: int) -> tuple[jax.Array, jax.Array]:
  """Indices i32[count] into OPERATIONS, half of them 0, and signs: bool[count]."""
  operation, apply, sign = jax.random.uniform(key, (3, count))
  operation = jnp.floor(operation * len(OPERATIONS)).astype(jnp.int32)
  return jnp.where(apply < _APPLY_PROBABILITY, operation, 0), sign < 0.5


def all_at_once(
  planes: jax.Array, operations: jax.Array, negative: jax.Array, *, level: float
) -> jax.Array:
  """Applies the drawn operations, one after the other.

  Every image passes through all of the stages, which leave the pixels as they are where
  another stage's operation is drawn: under `vmap` a switch computes all its branches.

  Args:
    planes: u8[B, 3, side, side].
    operations: i32[B, count], indices into OPERATIONS.
    negative: bool[B, count], whether one that has a direction goes the other way.
    level: strength, of 10.

  Returns:
    u8[B, 3, side, side].
  """

  def apply(planes, draw):
    for stage in _stages(*draw, level=level, side=planes.shape[-1]):
      planes = stage(planes)
    return planes, None

  return jax.vmap(lambda planes, *draws: jax.lax.scan(apply, planes, draws)[0])(
    planes, operations, negative
  )


def one_by_one(
  planes: jax.Array, operations: jax.Array, negative: jax.Array, *, level: float
) -> jax.Array:
  """`all_at_once`, but image by image, and only the stage that it drew."""

  def apply(planes, draw):
    stages = _stages(*draw, level=level, side=planes.shape[-1])
    branches = [lambda planes: planes, *stages]
    return jax.lax.switch(jnp.asarray(_STAGES)[draw[0]], branches, planes), None

  return jax.lax.map(
    lambda image: jax.lax.scan(apply, image[0], image[1:])[0],
    (planes, operations, negative),
  )


def by_kernel(
  planes: jax.Array,
  operations: jax.Array,
  negative: jax.Array,
  *,
  level: float,
  interpret: bool = False,
) -> jax.Array:
  """`one_by_one` as a kernel for TPUs; `interpret` runs it anywhere, slowly."""
  from harma_jax.augment import kernel  # imports what only TPUs need

  side = planes.shape[-1]
  factors = jnp.asarray(_factors(level))
  matrices = jnp.asarray(_matrices(level, side))
  tables_of = functools.partial(_table, level=level)
  tables_of = jax.vmap(jax.vmap(tables_of, in_axes=(0, None)))
  options = {'side': side, 'interpret': interpret}

  def apply(canvases, draw):
    operation, negative = draw
    counted = jnp.asarray(_COUNTED)[operation]
    canvases = kernel.operate(
      canvases,
      jnp.asarray(_STAGES)[operation],
      tables_of(kernel.histograms(canvases, counted, **options), operation),
      factors[operation],
      matrices[operation, negative.astype(jnp.int32)],
      **options,
    )
    return canvases, None

  canvases, _ = jax.lax.scan(apply, kernel.pack(planes), (operations.T, negative.T))
  return kernel.unpack(canvases, side=side)


def _stages(
  operation: jax.Array, negative: jax.Array, *, level: float, side: int
) -> list[Callable[[jax.Array], jax.Array]]:
  """What looks up a table, blends and warps u8[3, side, side]."""
  factor = jnp.asarray(_factors(level))[operation]
  matrix = jnp.asarray(_matrices(level, side))[operation, negative.astype(jnp.int32)]

  def look_up(plane):
    table = _table(color.histogram(plane), operation, level=level)
    return color.look_up(plane, table)

  return [
    jax.vmap(look_up),
    jax.vmap(lambda plane: color.blend_smooth(plane, factor)),
    lambda planes: geometry.warp(planes, matrix),
  ]


def _table(counts: jax.Array, operation: jax.Array, *, level: float) -> jax.Array:
  """The table i32[256] that an operation looks up, of a channel's histogram."""
  tables = {
    'AutoContrast': color.auto_contrast(counts),
    'Equalize': color.equalize(counts),
    'Brightness': jnp.asarray(color.brightness(level)),
  }
  drawn = jnp.stack([operation == OPERATIONS.index(name) for name in tables])
  drawn = jnp.append(drawn, ~drawn.any())
  # A product, not a select: XLA would merge a select into the look-up of every pixel.
  tables = jnp.stack([*tables.values(), jnp.arange(256)])
  return jnp.dot(drawn.astype(jnp.float32), tables.astype(jnp.float32)).astype(
    jnp.int32
  )


def _factors(level: float) -> np.ndarray:
  """i32[operations]: the blend with the smoothed image."""
  factors = np.full(len(OPERATIONS), color.ONE, np.int32)
  factors[OPERATIONS.index('Sharpness')] = round(color.blend_factor(level) * color.ONE)
  return factors


def _matrices(level: float, side: int) -> np.ndarray:
  """i32[operations, 2, 6]: the warp in the positive and in the negative direction."""
  matrices = np.tile(geometry.in_units(geometry.IDENTITY), (len(OPERATIONS), 2, 1))
  for name, make in geometry.MATRICES.items():
    pair = [geometry.in_units(make(level, sign, side)) for sign in (1, -1)]
    matrices[OPERATIONS.index(name)] = pair
  return matrices
