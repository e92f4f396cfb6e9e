"""Gradient harmonization: which samples pull the shared weights in opposite directions.

The gradient of a loss with respect to the embeddings of sample i is the part of the
whole gradient that flows through sample i. Where two losses disagree there, their
gradients are realigned and the sample may be dropped (arXiv 2211.02077; METHOD 2 states
this formulation for two towers).
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

Embeddings = tuple[jax.Array, ...]
Loss = Callable[..., jax.Array]


class Harmonized(NamedTuple):
  """What `harmonize` returns.

  Attributes:
    cotangents: f32[B, D_k] for each embedding: what to pull back through the towers.
    cosine: f32[B], of the angle between the two gradients; 0 where one of them is 0.
    keep: f32[B], 1 for kept samples and 0 for dropped ones.
    weight_a: f32[B], what the first gradient is multiplied with; 1 without conflict.
    weight_b: f32[B], of the second.
  """

  cotangents: Embeddings
  cosine: jax.Array
  keep: jax.Array
  weight_a: jax.Array
  weight_b: jax.Array


class HarmonizedMany(NamedTuple):
  """What `harmonize_many` returns, for M losses; rows of the losses in their order.

  Attributes:
    cotangents: f32[B, D_k] for each embedding.
    cosine: f32[M, B], of a loss's gradient and the sum of the others'.
    keep: f32[M, B].
    weight: f32[M, B], what a loss's gradient is multiplied with before `keep`.
  """

  cotangents: Embeddings
  cosine: jax.Array
  keep: jax.Array
  weight: jax.Array


def harmonize(
  loss_a: Loss,
  loss_b: Loss,
  embeddings: Embeddings,
  *,
  shared: Sequence[int] | None = None,
  realign: bool = True,
  threshold: jax.Array | float | None = None,
  renormalize: bool = True,
) -> Harmonized:
  """Realigns the gradients of two losses and drops the samples where they conflict.

  With the gradients a_i and b_i of sample i, `n_a = |a_i|^2`, `n_b = |b_i|^2`, and
  `d = a_i . b_i`: where `d < 0` each is projected on the normal plane of the other,
  `a' = a - d / n_b b` and `b' = b - d / n_a a`, whose sum is
  `(1 - d / n_a) a + (1 - d / n_b) b`.

  Args:
    loss_a: of the embeddings; f32[].
    loss_b: of the embeddings; f32[].
    embeddings: f32[B, D_k] with unit rows; row i of all of them is sample i.
    shared: positions of the embeddings over whose concatenation the angle is taken;
      None for all.
    realign: False only drops.
    threshold: a sample is kept where its cosine is above; None keeps all.
    renormalize: multiply by B over the number of kept samples.

  Returns:
    `Harmonized`; gradients are tangent to the unit sphere. Where all samples would be
    dropped, all are kept.
  """
  many = harmonize_many(
    (loss_a, loss_b),
    embeddings,
    shared=shared,
    realign=realign,
    keep_of=keep_all if threshold is None else keep_above(threshold),
    renormalize=renormalize,
  )
  return Harmonized(
    cotangents=many.cotangents,
    cosine=many.cosine[0],
    keep=many.keep[0],
    weight_a=many.weight[0],
    weight_b=many.weight[1],
  )


def harmonize_many(
  losses: Sequence[Loss],
  embeddings: Embeddings,
  *,
  shared: Sequence[int] | None = None,
  realign: bool = True,
  keep_of: Callable[[jax.Array], jax.Array],
  renormalize: bool = True,
) -> HarmonizedMany:
  """As `harmonize`, for M losses: each is judged against the sum of the others.

  Gradient g_k with rest `r_k = sum_(l != k) g_l` becomes `g_k - min(d_k, 0) / |r_k|^2
  r_k`, `d_k = g_k . r_k`. Two losses give `harmonize`'s formulas.

  Args:
    losses: M functions of the embeddings; f32[].
    embeddings: f32[B, D_k] with unit rows.
    shared: positions of the embeddings that the angle is taken over; None for all.
    realign: False only drops.
    keep_of: from cosines f32[M, B] to weights f32[M, B] in [0, 1].
    renormalize: multiply by the number of weights over their sum.
  """
  gradients = [_tangents(loss, embeddings) for loss in losses]
  positions = range(len(embeddings)) if shared is None else shared
  own = jnp.stack(
    [
      jnp.concatenate([gradient[k] for k in positions], axis=1)
      for gradient in gradients
    ]
  )
  rest = own.sum(axis=0, keepdims=True) - own if len(losses) != 2 else own[::-1]
  inner, norm, rest_norm = (
    _rows(a, b) for a, b in ((own, rest), (own, own), (rest, rest))
  )
  cosine = _divide(inner, jnp.sqrt(norm) * jnp.sqrt(rest_norm))
  weight = jnp.ones_like(cosine)
  if realign:
    pulls = jnp.maximum(-_divide(inner, rest_norm), 0)
    weight = weight + pulls.sum(axis=0, keepdims=True) - pulls
  keep = keep_of(cosine)
  keep = jnp.where(keep.sum() > 0, keep, jnp.ones_like(keep))
  scale = keep.size / keep.sum() if renormalize else 1.0
  factors = (keep * weight * scale)[..., None]
  cotangents = tuple(
    sum(
      factor * gradient[k] for factor, gradient in zip(factors, gradients, strict=True)
    )
    for k in range(len(embeddings))
  )
  return HarmonizedMany(cotangents, cosine, keep, weight)


def keep_all(cosine: jax.Array) -> jax.Array:
  """Weights that drop nothing."""
  return jnp.ones_like(cosine)


def keep_above(threshold: jax.Array | float) -> Callable[[jax.Array], jax.Array]:
  """Weights 1 where the cosine is above `threshold`, and 0 elsewhere."""
  return lambda cosine: (cosine > threshold).astype(cosine.dtype)


def keep_soft(
  threshold: jax.Array | float, *, width: float = 0.1
) -> Callable[[jax.Array], jax.Array]:
  """Weights from 0 to 1 around `threshold`: `sigmoid((cosine - threshold) / width)`."""
  return lambda cosine: jax.nn.sigmoid((cosine - threshold) / width)


def threshold_at(
  step: jax.Array, *, threshold: tuple[float, float], anneal_steps: int
) -> jax.Array:
  """f32[]: from the first to the second value, linear in `step`, then constant."""
  first, last = threshold
  done = jnp.clip(step / max(anneal_steps, 1), 0.0, 1.0)
  return first + (last - first) * done


def _tangents(loss: Loss, embeddings: Embeddings) -> Embeddings:
  gradients = jax.grad(loss, argnums=tuple(range(len(embeddings))))(*embeddings)
  return tuple(
    gradient - _rows(gradient, unit)[:, None] * unit
    for gradient, unit in zip(gradients, embeddings, strict=True)
  )


def _rows(a: jax.Array, b: jax.Array) -> jax.Array:
  """Inner products along the last axis."""
  return jnp.sum(a * b, axis=-1)


def _divide(a: jax.Array, b: jax.Array) -> jax.Array:
  """`a / b`, and 0 where b is 0."""
  return jnp.where(b > 0, a / jnp.where(b > 0, b, 1), 0)
