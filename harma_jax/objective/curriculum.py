"""Which samples a step keeps: thresholds of the cosine, and how they change."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

UNITS = ('cosine', 'share')
BELOW_ALL = -2.0  # of all cosines

Keep = Callable[[jax.Array], jax.Array]


def keep_all(cosine: jax.Array) -> jax.Array:
  """Weights that drop nothing."""
  return jnp.ones_like(cosine)


def keep_above(threshold: jax.Array | float) -> Keep:
  """Weights 1 where the cosine is above `threshold`, and 0 elsewhere."""
  return lambda cosine: (cosine > threshold).astype(cosine.dtype)


def keep_soft(threshold: jax.Array | float, *, width: float = 0.1) -> Keep:
  """Weights from 0 to 1 around `threshold`: `sigmoid((cosine - threshold) / width)`."""
  return lambda cosine: jax.nn.sigmoid((cosine - threshold) / width)


def keep_as_many(rule: Keep, scores: jax.Array) -> Keep:
  """Drops as many as `rule` would, but those of the lowest `scores` f32[M, B]."""

  def keep(cosine):
    rows = scores if len(scores) == len(cosine) else scores[:1]
    dropped = jnp.sum(rule(cosine)[: len(rows)] == 0)
    rank = jnp.argsort(jnp.argsort(rows.ravel())).reshape(rows.shape)
    return jnp.broadcast_to((rank >= dropped).astype(cosine.dtype), cosine.shape)

  return keep


def linear_at(
  step: jax.Array, *, values: tuple[float, float], start_step: int, steps: int
) -> jax.Array:
  """f32[]: the first value up to `start_step`, the second `steps` later, then constant.

  Linear between the two.
  """
  first, last = values
  done = jnp.clip((step - start_step) / max(steps, 1), 0.0, 1.0)
  return first + (last - first) * done


def as_cosine(value: jax.Array, cosine: jax.Array, *, unit: str) -> jax.Array:
  """f32[]: the threshold `value` as a cosine.

  Args:
    value: f32[], itself a cosine, or the `share` of the samples to drop.
    cosine: f32[M, B], of the batch.
    unit: of `value`, one of UNITS.
  """
  if unit == 'cosine':
    return value
  share = jnp.clip(value, 0.0, 1.0)
  level = jnp.quantile(cosine, share, method='lower')
  return jnp.where(share > 0, level, BELOW_ALL)
