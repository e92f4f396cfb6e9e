"""RandAugment as in ALBEF, for a batch of images that each draw their operations."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from harma_jax.augment import color, geometry
from harma_jax.augment.forms import Forms

OPERATIONS = (
  *('Identity', 'AutoContrast', 'Equalize', 'Brightness', 'Sharpness'),
  *('ShearX', 'ShearY', 'TranslateX', 'TranslateY', 'Rotate'),
)
# What does the work of each: nothing, a table, a blend or a warp.
_STAGES = (0, 1, 1, 1, 2, 3, 3, 3, 3, 3)
_APPLY_PROBABILITY = 0.5


def apply_random_operations(
  keys: jax.Array, planes: jax.Array, *, count: int, level: float, forms: Forms
) -> jax.Array:
  """Applies `count` operations of `level` out of 10 to u8[B, 3, side, side].

  They are drawn from OPERATIONS with replacement, all equally likely, an image's by its
  key of keys [B].
  """
  draws = jax.vmap(functools.partial(draw_operations, count=count))(keys)

  def apply(planes, draw):
    return apply_operation(planes, *draw, level=level, forms=forms), None

  def of_image(image):
    return jax.lax.scan(apply, *image)[0]

  batched = jax.lax.map if forms.one_by_one else lambda f, xs: jax.vmap(f)(xs)
  return batched(of_image, (planes, draws)) if count else planes


def draw_operations(key: jax.Array, *, count: int) -> tuple[jax.Array, jax.Array]:
  """Indices i32[count] into OPERATIONS, half of them 0, and signs: bool[count]."""
  operation, apply, sign = jax.random.uniform(key, (3, count))
  operation = jnp.floor(operation * len(OPERATIONS)).astype(jnp.int32)
  return jnp.where(apply < _APPLY_PROBABILITY, operation, 0), sign < 0.5


def apply_operation(
  planes: jax.Array,
  operation: jax.Array,
  negative: jax.Array,
  *,
  level: float,
  forms: Forms,
) -> jax.Array:
  """Applies one operation.

  Args:
    planes: u8[3, side, side].
    operation: i32[], index into OPERATIONS.
    negative: bool[], whether an operation that has a direction goes the other way.
    level: strength, of 10.
    forms: how. Under `vmap` a switch computes all of its branches; `one_by_one` is for
      images that come one after the other.

  Returns:
    u8[3, side, side].
  """
  factors = jnp.asarray(_factors(level))
  matrices = jnp.asarray(_matrices(level, planes.shape[-1]))
  table_of = functools.partial(_table, operation=operation, level=level, forms=forms)

  def by_table(planes):
    return jax.vmap(lambda plane: forms.look_up(plane, table_of(plane)))(planes)

  def by_blend(planes):
    return jax.vmap(color.blend_smooth, in_axes=(0, None))(planes, factors[operation])

  def by_warp(planes):
    matrix = matrices[operation, negative.astype(jnp.int32)]
    return geometry.warp(planes, matrix, corners=forms.corners)

  # Each of them leaves the pixels as they are where another one's operation is drawn.
  stages = by_table, by_blend, by_warp
  if not forms.one_by_one:
    return functools.reduce(lambda planes, stage: stage(planes), stages, planes)
  return jax.lax.switch(
    jnp.asarray(_STAGES)[operation], (lambda planes: planes, *stages), planes
  )


def _table(
  plane: jax.Array, *, operation: jax.Array, level: float, forms: Forms
) -> jax.Array:
  counts = forms.histogram(plane)
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
