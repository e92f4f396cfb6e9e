"""How the towers go over a batch: at once, or in parts that take the memory of one."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec

from harma_jax.devices.mesh import batch_sharding

Encode = Callable[[jax.Array], jax.Array]


def at_once(encode: Encode, rows: jax.Array) -> jax.Array:
  """`encode(rows)`."""
  return encode(rows)


def make_in_parts(*, size: int, mesh: Mesh) -> Callable[[Encode, jax.Array], jax.Array]:
  """Builds `in_parts(encode, rows)`: `encode(rows)`, at most `size` rows at a time.

  The backward pass keeps nothing of a part: it encodes each part again and adds up the
  gradients of what `encode` closes over, in their dtype. So the cotangents may depend
  on all rows (GradCache, arXiv 2101.06983), and the price is a second forward pass.
  Rows that fit in one part are encoded once.

  Args:
    size: rows that run together on all devices; a multiple of the devices.
    mesh: of all devices, over which `rows` [B, ...] are cut. Each takes its own rows,
      some in every part, so none travels. Where parts of equal size do not come out
      even, which any B may ask for, the last row of a device is encoded repeatedly.
  """

  def in_parts(encode, rows):
    count = len(rows) // mesh.size
    n_parts = -(-count // (size // mesh.size))
    if n_parts == 1:
      return encode(rows)
    parts = _cut(rows, n_parts=n_parts, mesh=mesh)
    # Not prevent_cse, which a loop does not need and whose barriers hinder fusion.
    found = jax.lax.map(jax.checkpoint(encode, prevent_cse=False), parts)
    return _joined(found, count=count, mesh=mesh)

  return in_parts


def _cut(rows: jax.Array, *, n_parts: int, mesh: Mesh) -> jax.Array:
  """[B, ...] to [n_parts, b, ...], both B and b over all devices."""

  def cut(own):
    length = -(-len(own) // n_parts)
    missing = n_parts * length - len(own)
    own = jnp.pad(own, [(0, missing), *[(0, 0)] * (own.ndim - 1)], mode='edge')
    return own.reshape(n_parts, length, *own.shape[1:])

  whole, parts = _specs(mesh)
  return jax.shard_map(cut, mesh=mesh, in_specs=whole, out_specs=parts)(rows)


def _joined(parts: jax.Array, *, count: int, mesh: Mesh) -> jax.Array:
  """The inverse of `_cut`, with the first `count` rows of each device."""

  def join(own):
    return own.reshape(-1, *own.shape[2:])[:count]

  whole, spec = _specs(mesh)
  return jax.shard_map(join, mesh=mesh, in_specs=spec, out_specs=whole)(parts)


def _specs(mesh: Mesh) -> tuple[PartitionSpec, PartitionSpec]:
  return batch_sharding(mesh).spec, batch_sharding(mesh, axis=1).spec
