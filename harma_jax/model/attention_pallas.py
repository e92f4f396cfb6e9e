"""Self-attention of short sequences as one Pallas kernel for TPUs, and its gradient.

XLA writes scores [B, heads, L, L] to memory with L padded to 128 lanes, and gives a
head a tile of 128 lanes however narrow it is. Here a sample's whole sequence stays in
vector memory, its heads side by side as the dense layer left them; nothing but queries,
keys, values and the result is read or written, and the backward pass computes the
probabilities again.

A head is picked by masking the lanes of the aligned 128-lane tiles that it touches, so
that any width of a head works and no lane moves.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu
from jax.sharding import Mesh, PartitionSpec

LANES = 128
# Of queries, keys and values, and of their gradients, that a step of the grid holds;
# the compiler doubles it to read ahead, within 16 MiB of vector memory.
BLOCK_BYTES = 2**20
# What a kernel may have of it unless it asks for more.
USUAL_BYTES = 16 * 2**20
MASKED = float(np.finfo(np.float32).min)


def attend(
  qkv: jax.Array,
  mask: jax.Array | None = None,
  *,
  heads: int,
  causal: bool,
  valid: int = 0,
  mesh: Mesh | None = None,
  interpret: bool = False,
) -> jax.Array:
  """Multi-head self-attention; products in the dtype of `qkv`, softmax in f32.

  Args:
    qkv: dtype[B, L, 3 * width], queries, keys and values side by side, heads in each.
    mask: bool[B, L], positions that may be attended to, at least one a row; None: all.
    heads: divides the width.
    causal: position i attends to 0..i only.
    valid: the first so many positions may be attended to; 0: all.
    mesh: of several devices over which rows are cut, as far as it divides them.
    interpret: computes it without a TPU.

  Returns:
    dtype[B, L, width].
  """
  settings = _Settings(heads, causal, valid or qkv.shape[1], interpret)
  kernel = functools.partial(_attend, settings)
  mask = None if mask is None else mask.astype(jnp.float32)[:, None]
  if mesh is None or mesh.size == 1:
    return kernel(qkv, mask)
  rows = PartitionSpec(mesh.axis_names if len(qkv) % mesh.size == 0 else None)
  return jax.shard_map(
    kernel, mesh=mesh, in_specs=rows, out_specs=rows, check_vma=False
  )(qkv, mask)


class _Settings(NamedTuple):
  heads: int
  causal: bool
  valid: int
  interpret: bool


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attend(settings: _Settings, qkv, mask):
  return _over_samples(_forward_of_sample, settings, qkv, mask, products=2)


def _attend_forward(settings, qkv, mask):
  return _attend(settings, qkv, mask), (qkv, mask)


def _attend_backward(settings, residuals, cotangent):
  qkv, mask = residuals
  gradient = _over_samples(
    _backward_of_sample, settings, qkv, mask, cotangent, products=5
  )
  return gradient, None if mask is None else jnp.zeros_like(mask)


_attend.defvjp(_attend_forward, _attend_backward)


def _over_samples(body, settings: _Settings, qkv, mask, *others, products: int):
  """`body(settings, qkv, mask, *others)` of each sample, in blocks of samples.

  Arrays of a sample are [L, ...], its mask f32[1, L] or None. The result is as wide as
  `qkv`, whose gradient it is, where there are `others`; else a third of it.
  """
  batch, length, width = qkv.shape
  width = width if others else width // 3
  block = max(min(BLOCK_BYTES // (qkv.nbytes // batch), batch), 1)
  arrays = [qkv, *others] if mask is None else [qkv, *others, mask]

  def kernel(*refs):
    *inputs, out = refs

    def of_sample(i, carry):
      found = [ref[i] for ref in inputs]
      own = found.pop() if mask is not None else None
      out[i] = body(settings, found[0], own, *found[1:]).astype(out.dtype)
      return carry

    jax.lax.fori_loop(0, block, of_sample, None)

  def spec(shape):
    return pl.BlockSpec((block, *shape[1:]), lambda i: (i, 0, 0))

  out = jax.ShapeDtypeStruct((batch, length, width), qkv.dtype)
  moved = sum(array.nbytes for array in arrays) + out.size * out.dtype.itemsize
  return pl.pallas_call(
    kernel,
    grid=(pl.cdiv(batch, block),),
    in_specs=[spec(array.shape) for array in arrays],
    out_specs=spec(out.shape),
    out_shape=out,
    cost_estimate=pl.CostEstimate(
      flops=2 * products * batch * length**2 * qkv.shape[-1] // 3,
      transcendentals=settings.heads * batch * length**2,
      bytes_accessed=moved,
    ),
    compiler_params=pltpu.CompilerParams(
      vmem_limit_bytes=_vector_memory(arrays, out, block=block, products=products)
    ),
    interpret=settings.interpret,
    name=body.__name__.strip('_'),
  )(*arrays)


def _vector_memory(arrays, out, *, block: int, products: int) -> int | None:
  """Bytes of vector memory for a step of the grid; None where the usual will do.

  What is read and written is there twice; and of one sample what is written in f32,
  and scores for each product. Whoever asks gets the second of these twice, to be safe.
  """
  batch, length, _ = out.shape
  moved = sum(math.prod(each.shape) * each.dtype.itemsize for each in (*arrays, out))
  own = 4 * out.size // batch + 4 * (products + 1) * length**2
  twice = 2 * moved * block // batch
  return twice + 2 * own if twice + own > USUAL_BYTES else None


def _forward_of_sample(settings: _Settings, qkv, mask):
  query, key, value = _thirds(qkv)
  bias, width = _bias(settings, mask, length=len(qkv)), query.shape[1] // settings.heads
  out = _Columns(query.shape)
  for lanes, own in _heads(query.shape[1], width=width):
    q, k, v = _own(query[:, lanes], own), key[:, lanes], value[:, lanes]
    p = _probabilities(q, k, bias, width=width)
    out.add(lanes, jnp.where(own, _dot(p.astype(v.dtype), v, (1, 0)), 0))
  return out.whole()


def _backward_of_sample(settings: _Settings, qkv, mask, cotangent):
  """Of the scores: `dS = P (dP - sum(dP P))`, with `dP = dO V^T`."""
  query, key, value = _thirds(qkv)
  bias, width = _bias(settings, mask, length=len(qkv)), query.shape[1] // settings.heads
  d_query, d_key, d_value = (_Columns(query.shape) for _ in range(3))
  for lanes, own in _heads(query.shape[1], width=width):
    k, v = key[:, lanes], value[:, lanes]
    q, d_out = (_own(each[:, lanes], own) for each in (query, cotangent))
    p = _probabilities(q, k, bias, width=width)
    d_p = _dot(d_out, v, (1, 1))
    d_s = p * (d_p - jnp.sum(d_p * p, axis=1, keepdims=True)) * width**-0.5
    d_s, p = d_s.astype(q.dtype), p.astype(q.dtype)
    d_query.add(lanes, jnp.where(own, _dot(d_s, k, (1, 0)), 0))
    d_key.add(lanes, _dot(d_s, q, (0, 0)))
    d_value.add(lanes, _dot(p, d_out, (0, 0)))
  return jnp.concatenate([each.whole() for each in (d_query, d_key, d_value)], axis=1)


def _thirds(qkv):
  width = qkv.shape[1] // 3
  return (qkv[:, i * width : (i + 1) * width] for i in range(3))


def _heads(total: int, *, width: int):
  """Of each head the lanes of the tiles that it touches, and bool[1, n]: its own."""
  for first in range(0, total, width):
    last = first + width
    start, stop = first // LANES * LANES, min(-(-last // LANES) * LANES, total)
    lane = start + jax.lax.broadcasted_iota(jnp.int32, (1, stop - start), 1)
    yield slice(start, stop), (lane >= first) & (lane < last)


def _own(x, own):
  # Selected in f32: vector units before v6e have no arithmetic in 16 bits.
  return jnp.where(own, x.astype(jnp.float32), 0).astype(x.dtype)


def _bias(settings: _Settings, mask, *, length: int):
  """f32[L, L]: 0 where a position may attend to another, else far below any score."""
  row, column = (
    jax.lax.broadcasted_iota(jnp.int32, (length, length), axis) for axis in (0, 1)
  )
  allowed = column < settings.valid
  if settings.causal:
    allowed = allowed & (column <= row)
  if mask is not None:
    allowed = allowed & (jnp.broadcast_to(mask, allowed.shape) > 0)
  return jnp.where(allowed, 0.0, MASKED)


def _probabilities(q, k, bias, *, width: int):
  scores = _dot(q, k, (1, 1)) * width**-0.5 + bias
  powers = jnp.exp(scores - jnp.max(scores, axis=1, keepdims=True))
  return powers / jnp.sum(powers, axis=1, keepdims=True)


def _dot(a, b, axes: tuple[int, int]):
  """f32: the product summed over axis `axes[0]` of `a` and `axes[1]` of `b`."""
  precision = jax.lax.Precision.HIGHEST if a.dtype == jnp.float32 else None
  return jax.lax.dot_general(
    a,
    b,
    (([axes[0]], [axes[1]]), ([], [])),
    precision=precision,
    preferred_element_type=jnp.float32,
  )


class _Columns:
  """A sum f32[L, width] by its tiles of 128 lanes, of which an addend covers some."""

  def __init__(self, shape: tuple[int, int]):
    self._starts = range(0, shape[1], LANES)
    self._tiles = {}

  def add(self, lanes: slice, value) -> None:
    for start in range(lanes.start, lanes.stop, LANES):
      part = value[:, start - lanes.start : start - lanes.start + LANES]
      self._tiles[start] = self._tiles[start] + part if start in self._tiles else part

  def whole(self):
    return jnp.concatenate([self._tiles[start] for start in self._starts], axis=1)
