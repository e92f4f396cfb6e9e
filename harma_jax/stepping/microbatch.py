"""How a step goes over its batch: at once, or in parts that take the memory of one."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec

from harma_jax.devices.mesh import batch_sharding


def at_once(encode: Callable, rows):
  """`encode(rows)`."""
  return encode(rows)


def make_in_parts(*, size: int, mesh: Mesh) -> Callable:
  """Builds `in_parts(encode, rows)`: `encode(rows)`, at most `size` rows at a time.

  `rows` is an array [B, ...] or a tree of such, and so is the result, whose row i is of
  row i alone.

  The backward pass keeps nothing of a part: it encodes each part again and adds up the
  gradients of what `encode` closes over, in their dtype. So the cotangents may depend
  on all rows (GradCache, arXiv 2101.06983), and the price is a second forward pass.
  Rows that fit in one part are encoded once.

  Args:
    size: rows that run together on all devices; a multiple of the devices.
    mesh: of all devices, over which rows are cut. Each takes its own, some in every
      part, so none travels. Where parts of equal size do not come out even, the last
      row of a device is encoded repeatedly.
  """

  def in_parts(encode, rows):
    count = len(jax.tree.leaves(rows)[0]) // mesh.size
    n_parts = -(-count // (size // mesh.size))
    if n_parts == 1:
      return encode(rows)
    parts = _cut(rows, n_parts=n_parts, mesh=mesh)
    # Not prevent_cse, which a loop does not need and whose barriers hinder fusion.
    found = jax.lax.map(jax.checkpoint(encode, prevent_cse=False), parts)
    return _joined(found, count=count, mesh=mesh)

  return in_parts


def _cut(rows, *, n_parts: int, mesh: Mesh):
  """[B, ...] to [n_parts, b, ...], both B and b over all devices."""

  def cut(own):
    length = -(-len(own) // n_parts)
    missing = n_parts * length - len(own)
    own = jnp.pad(own, [(0, missing), *[(0, 0)] * (own.ndim - 1)], mode='edge')
    return own.reshape(n_parts, length, *own.shape[1:])

  whole, parts = _specs(mesh)
  return jax.shard_map(
    lambda tree: jax.tree.map(cut, tree), mesh=mesh, in_specs=whole, out_specs=parts
  )(rows)


def _joined(parts, *, count: int, mesh: Mesh):
  """The inverse of `_cut`, with the first `count` rows of each device."""

  def join(own):
    return own.reshape(-1, *own.shape[2:])[:count]

  whole, spec = _specs(mesh)
  return jax.shard_map(
    lambda tree: jax.tree.map(join, tree), mesh=mesh, in_specs=spec, out_specs=whole
  )(parts)


def _specs(mesh: Mesh) -> tuple[PartitionSpec, PartitionSpec]:
  return batch_sharding(mesh).spec, batch_sharding(mesh, axis=1).spec
