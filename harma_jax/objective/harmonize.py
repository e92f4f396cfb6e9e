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

from harma_jax.objective.curriculum import Keep, keep_above, keep_all

Embeddings = tuple[jax.Array, ...]
Loss = Callable[..., jax.Array]


class Products(NamedTuple):
  """Inner products of each of M gradients and the sum of the others, f32[M, ...].

  Attributes:
    inner: of the gradient and the rest.
    norm: of the gradient and itself.
    rest_norm: of the rest and itself.
  """

  inner: jax.Array
  norm: jax.Array
  rest_norm: jax.Array


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
  realign: bool | jax.Array = True,
  keep_of: Keep,
  renormalize: bool = True,
  products: Callable[[list[Embeddings]], Products] | None = None,
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
    products: measures the M gradients in another space than that of the embeddings;
      from a tuple of f32[B, D_k] each, 0 where they are not shared, to f32[M, B].
  """
  gradients = [_tangents(loss, embeddings) for loss in losses]
  inner, norm, rest_norm = (products or embedding_products)(
    [_only(gradient, positions=shared) for gradient in gradients]
  )
  cosine = _divide(inner, jnp.sqrt(norm) * jnp.sqrt(rest_norm))
  pulls = jnp.where(realign, jnp.maximum(-_divide(inner, rest_norm), 0), 0)
  weight = 1 + pulls.sum(axis=0, keepdims=True) - pulls
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


def embedding_products(gradients: list[Embeddings]) -> Products:
  """f32[M, B], over the concatenation of a gradient's embeddings f32[B, D_k]."""
  return products_of(
    jnp.stack([jnp.concatenate(gradient, axis=1) for gradient in gradients])
  )


def products_of(own: jax.Array) -> Products:
  """f32[M, ...] of M gradients f32[M, ..., D]."""
  rest = own.sum(axis=0, keepdims=True) - own if len(own) != 2 else own[::-1]
  return Products(_rows(own, rest), _rows(own, own), _rows(rest, rest))


def _only(gradient: Embeddings, *, positions: Sequence[int] | None) -> Embeddings:
  """`gradient`, 0 at all other positions."""
  return tuple(
    each if positions is None or k in positions else jnp.zeros_like(each)
    for k, each in enumerate(gradient)
  )


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
