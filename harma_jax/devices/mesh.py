"""Devices as a mesh, and where batches and parameters lie on it."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from harma_jax.errors import UserError

DATA, FSDP = 'data', 'fsdp'

# Smaller leaves are copied to every device: gathering them costs more than it saves.
SHARDED_FROM = 2**16


def make_mesh(*, fsdp: int = 1, devices: list | None = None) -> Mesh:
  """A mesh of all devices with the axes `data` and `fsdp`.

  Args:
    fsdp: over how many devices parameters are sharded; 1 copies them to each.
    devices: default all devices of all processes. Of several slices of TPUs, each holds
      whole copies of the parameters.

  Raises:
    UserError: `fsdp` does not divide the number of devices, of a slice.
  """
  devices = jax.devices() if devices is None else devices
  slices = {getattr(device, 'slice_index', 0) for device in devices}
  near = len(devices) // len(slices)
  if fsdp < 1 or near % fsdp:
    of_slice = ' of a slice' if len(slices) > 1 else ''
    raise UserError(
      f'mesh.fsdp: expected a divisor of the {near} devices{of_slice}; found {fsdp}.'
    )
  if len(slices) > 1:
    return Mesh(
      slice_by_slice(devices, slices=len(slices), fsdp=fsdp),
      (DATA, FSDP),
      axis_types=(AxisType.Auto, AxisType.Auto),
    )
  return jax.make_mesh(
    (len(devices) // fsdp, fsdp),
    (DATA, FSDP),
    axis_types=(AxisType.Auto, AxisType.Auto),
    devices=devices,
  )


def slice_by_slice(devices: list, *, slices: int, fsdp: int) -> np.ndarray:
  """Devices [data, fsdp] of which each row lies in one slice."""
  near = len(devices) // slices
  return mesh_utils.create_hybrid_device_mesh(
    (near // fsdp, fsdp), (slices, 1), devices=devices
  )


def layout_of(mesh: Mesh) -> str:
  """The axes of a mesh in words: `data 8 x fsdp 4`."""
  return ' x '.join(f'{axis} {length}' for axis, length in mesh.shape.items())


def nearest_multiple(number: int, *, of: int) -> int:
  """The multiple of `of`, from the first on, that is nearest to `number`."""
  return max(round(number / of), 1) * of


def check_batch(
  batch_size: int, *, mesh: Mesh, field: str, may_round: bool = False
) -> None:
  """Raises UserError where the devices do not divide the batch.

  `may_round`: whether the field takes `auto:N`, which the message then names.
  """
  if batch_size < 1 or batch_size % mesh.size:
    near = nearest_multiple(batch_size, of=mesh.size)
    auto = f' --config.{field}=auto:{batch_size} takes it.' if may_round else ''
    raise UserError(
      f'{field}: expected a multiple of the {mesh.size} devices; found {batch_size}. '
      f'The nearest is {near}: --config.{field}={near}.{auto}'
    )


def batch_sharding(mesh: Mesh, *, axis: int = 0) -> NamedSharding:
  """Rows of a batch, which count along `axis`, over all devices."""
  return NamedSharding(mesh, PartitionSpec(*[None] * axis, (DATA, FSDP)))


def replicated(mesh: Mesh) -> NamedSharding:
  """A copy on every device."""
  return NamedSharding(mesh, PartitionSpec())


def leaf_sharding(leaf: jax.ShapeDtypeStruct, *, mesh: Mesh) -> NamedSharding:
  """Where a parameter (or its optimizer moment) lies: by its shape alone.

  Large leaves are cut over `fsdp` along their longest axis that it divides.
  """
  parts = mesh.shape[FSDP]
  axes = [axis for axis, length in enumerate(leaf.shape) if length % parts == 0]
  if parts == 1 or np.prod(leaf.shape) < SHARDED_FROM or not axes:
    return replicated(mesh)
  longest = max(axes, key=lambda axis: leaf.shape[axis])
  spec = [None] * len(leaf.shape)
  spec[longest] = FSDP
  return NamedSharding(mesh, PartitionSpec(*spec))


def tree_shardings(tree, *, mesh: Mesh):
  """`leaf_sharding` of every leaf of a tree of arrays or shapes."""
  return jax.tree.map(lambda leaf: leaf_sharding(leaf, mesh=mesh), tree)


def place_batch(
  batch: dict[str, np.ndarray], *, mesh: Mesh, axis: int = 0
) -> dict[str, jax.Array]:
  """The global batch, of which `batch` is this process's contiguous part.

  Its rows count along `axis`; before that, as in a stack of batches, all is whole.
  """
  sharding = batch_sharding(mesh, axis=axis)
  return {
    name: jax.make_array_from_process_local_data(sharding, rows)
    for name, rows in batch.items()
  }


def place_everywhere(tree, *, mesh: Mesh):
  """A copy of host arrays, the same in all processes, on every device."""
  sharding = replicated(mesh)
  return jax.tree.map(
    # Not device_put, which would compare the arrays of all processes.
    lambda leaf: jax.make_array_from_callback(
      leaf.shape, sharding, lambda index, leaf=leaf: leaf[index]
    ),
    tree,
  )


def place_rows(
  read: Callable[[np.ndarray], dict[str, np.ndarray]], *, count: int, mesh: Mesh
) -> dict[str, jax.Array]:
  """Arrays of `count` rows cut over all devices; `take_rows` looks them up.

  Args:
    read: from row numbers i64[k] to arrays of k rows; asked only for what lies on this
      process's devices, one device after the other.
    count: of all rows; the last one is repeated up to a multiple of the devices.
    mesh: of all devices.
  """
  sharding, part = batch_sharding(mesh), -(-count // mesh.size)
  total = part * mesh.size
  shards = {}
  for device, (rows,) in sharding.addressable_devices_indices_map((total,)).items():
    found = read(np.minimum(np.arange(total)[rows], count - 1))
    for name, values in found.items():
      shards.setdefault(name, []).append(jax.device_put(values, device))
  return {
    name: jax.make_array_from_single_device_arrays(
      (total, *parts[0].shape[1:]), sharding, parts
    )
    for name, parts in shards.items()
  }


def take_rows(array: jax.Array, rows: jax.Array, *, mesh: Mesh) -> jax.Array:
  """`array[rows]` where `array` and `rows` i32[b] are cut over all devices.

  Every device looks up the whole batch in its part of the array, which it needs room
  for, and sends each device its rows, which keeps those of the part that has them: what
  travels is a batch and never the array, and nothing is added.
  """
  if mesh.size == 1:
    return array[rows]
  spec = batch_sharding(mesh).spec
  (axes,) = spec

  @functools.partial(jax.shard_map, mesh=mesh, in_specs=(spec, spec), out_specs=spec)
  def take(part, rows):
    wanted = jax.lax.all_gather(rows, axes, tiled=True)
    first = jax.lax.axis_index(axes) * len(part)
    found = part[jnp.clip(wanted - first, 0, len(part) - 1)]
    # One after the other, the rows that each part has in their places.
    found = jax.lax.all_to_all(found, axes, 0, 0, tiled=True)
    return found[rows // len(part) * len(rows) + jnp.arange(len(rows))]

  return take(array, rows)


def free_device_bytes() -> int | None:
  """Memory that is free on the fullest device of this process.

  None where the devices are the host, or do not tell.
  """
  stats = _memory_stats()
  return min(
    (each['bytes_limit'] - each['bytes_in_use'] for each in stats), default=None
  )


def device_bytes() -> int | None:
  """Memory of the smallest device of this process, as far as jax may use it.

  None where the devices are the host, or do not tell.
  """
  return min((each['bytes_limit'] for each in _memory_stats()), default=None)


def _memory_stats() -> list[dict]:
  """Of each device of this process; none where they are the host, or do not tell."""
  stats = [device.memory_stats() for device in jax.local_devices()]
  return stats if jax.default_backend() != 'cpu' and all(stats) else []
