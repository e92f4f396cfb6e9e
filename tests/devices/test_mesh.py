import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from harma_jax.devices import mesh as mesh_module
from harma_jax.devices.mesh import (
  batch_sharding,
  check_batch,
  leaf_sharding,
  make_mesh,
  place_batch,
  place_rows,
  replicated,
  slice_by_slice,
  take_rows,
  tree_shardings,
)
from harma_jax.errors import UserError


@pytest.mark.parametrize('fsdp', [1, 2, 4, 8])
def test_a_mesh_holds_every_device_once(fsdp):
  mesh = make_mesh(fsdp=fsdp)
  assert dict(mesh.shape) == {'data': 8 // fsdp, 'fsdp': fsdp}
  assert set(mesh.devices.flat) == set(jax.devices())


def test_a_mesh_of_given_devices():
  assert make_mesh(devices=jax.devices()[:2]).size == 2


def of_slices(count):
  """Eight devices of so many slices of TPUs, by turns."""
  return [
    types.SimpleNamespace(
      id=i, slice_index=i % count, device_kind='toy', platform='toy', process_index=0
    )
    for i in range(8)
  ]


@pytest.mark.parametrize('fsdp', [1, 2, 4])
def test_parameters_are_shared_within_a_slice_alone(fsdp):
  grid = slice_by_slice(of_slices(2), slices=2, fsdp=fsdp)
  assert grid.shape == (8 // fsdp, fsdp)
  assert sorted(device.id for device in grid.flat) == list(range(8))
  for row in grid:
    assert len({device.slice_index for device in row}) == 1


def test_fsdp_over_slices_is_the_users_mistake():
  with pytest.raises(UserError, match='divisor of the 4 devices of a slice; found 8'):
    make_mesh(fsdp=8, devices=of_slices(2))


@pytest.mark.parametrize('fsdp', [0, 3, 16, -1])
def test_fsdp_that_does_not_divide_is_the_users_mistake(fsdp):
  with pytest.raises(UserError, match=f'divisor of the 8 devices; found {fsdp}'):
    make_mesh(fsdp=fsdp)


@pytest.mark.parametrize(
  ('batch_size', 'nearest'), [(13, 16), (1, 8), (0, 8), (427, 424)]
)
def test_a_batch_that_devices_do_not_divide_names_the_nearest(batch_size, nearest):
  message = (
    f'train.batch_size: expected a multiple of the 8 devices; found {batch_size}. '
    f'The nearest is {nearest}: --config.train.batch_size={nearest}.'
  )
  with pytest.raises(UserError) as caught:
    check_batch(batch_size, mesh=make_mesh(), field='train.batch_size')
  assert str(caught.value) == message
  assert check_batch(nearest, mesh=make_mesh(), field='train.batch_size') is None


@pytest.mark.parametrize(
  ('shape', 'spec'),
  [
    ((12, 256, 512), (None, None, 'fsdp')),
    ((12, 512, 256), (None, 'fsdp', None)),
    ((1024, 257), ('fsdp', None)),
    ((257, 1024), (None, 'fsdp')),
    ((256, 256), ('fsdp', None)),
  ],
)
@pytest.mark.parametrize('fsdp', [2, 4])
def test_large_leaves_are_cut_along_their_longest_axis(shape, spec, fsdp):
  leaf = jax.ShapeDtypeStruct(shape, jnp.float32)
  sharding = leaf_sharding(leaf, mesh=make_mesh(fsdp=fsdp))
  assert sharding.spec == PartitionSpec(*spec)
  part = sharding.shard_shape(shape)
  assert np.prod(part) * fsdp == np.prod(shape)


@pytest.mark.parametrize(
  ('shape', 'fsdp'),
  [((1024, 1024), 1), ((255, 256), 2), ((), 2), ((1001, 1003), 2)],
  ids=['not asked for', 'small', 'scalar', 'no axis to cut'],
)
def test_other_leaves_are_copied(shape, fsdp):
  leaf = jax.ShapeDtypeStruct(shape, jnp.float32)
  assert leaf_sharding(leaf, mesh=make_mesh(fsdp=fsdp)).is_fully_replicated


def test_tree_shardings_keep_the_tree(monkeypatch):
  monkeypatch.setattr(mesh_module, 'SHARDED_FROM', 4)
  mesh = make_mesh(fsdp=2)
  shardings = tree_shardings({'a': np.zeros((2, 4)), 'b': (np.zeros(3),)}, mesh=mesh)
  assert shardings['a'].spec == PartitionSpec(None, 'fsdp')
  assert shardings['b'][0] == replicated(mesh)


@pytest.mark.parametrize('fsdp', [1, 4])
def test_place_batch_gives_every_device_its_rows(fsdp):
  batch = {
    'images': np.arange(16 * 3, dtype=np.uint8).reshape(16, 3),
    'image_ids': np.arange(16, dtype=np.int32),
  }
  mesh = make_mesh(fsdp=fsdp)
  placed = place_batch(batch, mesh=mesh)
  for name, rows in batch.items():
    assert placed[name].shape == rows.shape
    assert placed[name].dtype == rows.dtype
    assert placed[name].sharding == batch_sharding(mesh)
    np.testing.assert_array_equal(placed[name], rows)
    # In the order of the mesh's devices.
    for device, shard in zip(mesh.devices.flat, np.split(rows, 8), strict=True):
      (found,) = (s for s in placed[name].addressable_shards if s.device == device)
      np.testing.assert_array_equal(found.data, shard)


@pytest.mark.parametrize('fsdp', [1, 2])
def test_rows_that_lie_on_any_device_are_found(fsdp):
  mesh, asked = make_mesh(fsdp=fsdp), []
  rows = np.random.default_rng(0).integers(0, 256, (21, 3, 2)).astype(np.uint8)

  def read(which):
    asked.append(which)
    return {'rows': rows[which], 'numbers': which}

  placed = place_rows(read, count=21, mesh=mesh)
  assert [len(which) for which in asked] == [3] * 8
  assert set(np.concatenate(asked)) == set(range(21))
  assert placed['rows'].sharding == batch_sharding(mesh)
  wanted = np.random.default_rng(1).integers(0, 21, 16)
  take = jax.jit(lambda array, which: take_rows(array, which, mesh=mesh))
  for name, expected in {'rows': rows, 'numbers': np.arange(21)}.items():
    found = take(placed[name], jax.device_put(wanted, batch_sharding(mesh)))
    assert found.sharding == batch_sharding(mesh)
    np.testing.assert_array_equal(found, expected[wanted])


def test_looking_rows_up_moves_a_batch_and_not_the_array():
  mesh = make_mesh()
  array = jax.ShapeDtypeStruct((8000, 16), jnp.uint8, sharding=batch_sharding(mesh))
  which = jax.ShapeDtypeStruct((16,), jnp.int32, sharding=batch_sharding(mesh))
  take = jax.jit(lambda array, which: take_rows(array, which, mesh=mesh))
  text = take.lower(array, which).compile().as_text()
  gathered = [line for line in text.splitlines() if 'all-gather(' in line]
  assert gathered
  assert all('s32[16]' in line for line in gathered)
