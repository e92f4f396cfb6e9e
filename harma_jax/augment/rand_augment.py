"""RandAugment as in ALBEF, in the form that suits a batch.

Under `vmap` a switch computes all of its branches. So there is none: every round looks
up a table, blends with a smoothed copy and warps, and all but the drawn operation leave
the pixels as they are.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from harma_jax.augment import color, geometry

OPERATIONS = (
  *('Identity', 'AutoContrast', 'Equalize', 'Brightness', 'Sharpness'),
  *('ShearX', 'ShearY', 'TranslateX', 'TranslateY', 'Rotate'),
)
_APPLY_PROBABILITY = 0.5


def apply_random_operations(
  key: jax.Array, planes: jax.Array, *, count: int, level: float
) -> jax.Array:
  """Applies `count` operations of `level` out of 10 to u8[3, side, side].

  They are drawn from OPERATIONS with replacement, all equally likely.
  """
  draws = draw_operations(key, count=count)

  def apply(planes, draw):
    return apply_operation(planes, *draw, level=level), None

  return jax.lax.scan(apply, planes, draws)[0]


def draw_operations(key: jax.Array, *, count: int) -> tuple[jax.Array, jax.Array]:
  """Indices i32[count] into OPERATIONS, half of them 0, and signs: bool[count]."""
  operation, apply, sign = jax.random.uniform(key, (3, count))
  operation = jnp.floor(operation * len(OPERATIONS)).astype(jnp.int32)
  return jnp.where(apply < _APPLY_PROBABILITY, operation, 0), sign < 0.5


def apply_operation(
  planes: jax.Array, operation: jax.Array, negative: jax.Array, *, level: float
) -> jax.Array:
  """Applies one operation.

  Args:
    planes: u8[3, side, side].
    operation: i32[], index into OPERATIONS.
    negative: bool[], whether an operation that has a direction goes the other way.
    level: strength, of 10.

  Returns:
    u8[3, side, side].
  """
  factor = jnp.asarray(_factors(level))[operation]
  matrices = jnp.asarray(_matrices(level, planes.shape[-1]))
  table_of = functools.partial(_table, operation=operation, level=level)
  planes = jax.vmap(lambda plane: color.look_up(plane, table_of(plane)))(planes)
  planes = jax.vmap(color.blend_smooth, in_axes=(0, None))(planes, factor)
  return geometry.warp(planes, matrices[operation, negative.astype(jnp.int32)])


def _table(plane: jax.Array, *, operation: jax.Array, level: float) -> jax.Array:
  counts = color.histogram(plane)
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
