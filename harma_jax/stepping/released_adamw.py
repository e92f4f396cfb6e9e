"""AdamW as transformers 4.x had it, with which HarMA was trained."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax


def released_adamw(
  schedule: optax.Schedule, *, b1: float, b2: float, eps: float, weight_decay: float
) -> optax.GradientTransformation:
  """`transformers.AdamW` (`optimization.py` of 4.x, `correct_bias=True`).

      m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2
      p = p - rate sqrt(1 - b2^t) / (1 - b1^t) m / (sqrt(v) + eps)
      p = p - rate weight_decay p

  Two things differ from `optax.adamw`. Epsilon is added to the root of the second
  moment before its bias is corrected, which makes it `1 / sqrt(1 - b2^t)` times as
  large: 7 times at the first step with b2 = 0.98. And the decay is of the weight after
  the update.
  """
  return optax.chain(
    released_adam(schedule, b1=b1, b2=b2, eps=eps),
    _decay_after(schedule, weight_decay=weight_decay),
  )


def released_adam(
  schedule: optax.Schedule, *, b1: float, b2: float, eps: float
) -> optax.GradientTransformation:
  """`released_adamw` without decay."""
  return optax.chain(
    _scale_by_moments(b1=b1, b2=b2, eps=eps), optax.scale_by_learning_rate(schedule)
  )


def _scale_by_moments(
  *, b1: float, b2: float, eps: float
) -> optax.GradientTransformation:
  """Adam's direction; its state is that of `optax.scale_by_adam`."""

  def update(gradients, state, params=None):
    del params
    count = optax.safe_increment(state.count)
    mu = optax.tree.update_moment(gradients, state.mu, b1, 1)
    nu = optax.tree.update_moment_per_elem_norm(gradients, state.nu, b2, 2)
    t = count.astype(jnp.float32)
    correction = jnp.sqrt(1 - b2**t) / (1 - b1**t)
    updates = jax.tree.map(lambda m, v: correction * m / (jnp.sqrt(v) + eps), mu, nu)
    return updates, optax.ScaleByAdamState(count=count, mu=mu, nu=nu)

  return optax.GradientTransformation(optax.scale_by_adam(b1=b1, b2=b2).init, update)


class _DecayState(NamedTuple):
  """Attributes: count, i32[], the updates made: where the schedule is."""

  count: jax.Array


def _decay_after(
  schedule: optax.Schedule, *, weight_decay: float
) -> optax.GradientTransformation:
  """From an update `u` to `u - rate weight_decay (p + u)`."""

  def update(updates, state, params):
    share = schedule(state.count) * weight_decay
    updates = jax.tree.map(lambda u, p: u - share * (p + u), updates, params)
    return updates, _DecayState(count=optax.safe_increment(state.count))

  def init(params):
    del params
    return _DecayState(count=jnp.zeros([], jnp.int32))

  return optax.GradientTransformation(init, update)
