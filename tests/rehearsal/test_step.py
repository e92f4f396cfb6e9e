"""The step on devices that are not there: its shapes, bytes and collectives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from harma_jax.devices.compilation import Memory, memory_of
from harma_jax.devices.mesh import (
  batch_sharding,
  make_mesh,
  place_everywhere,
  tree_shardings,
)
from harma_jax.errors import UserError
from harma_jax.training.topology import (
  bytes_of_device,
  count_collectives,
  dry_run_topology,
  read_topology,
)


def test_a_topology_is_read():
  assert read_topology('32') == ('cpu', 32)
  assert read_topology('tpu:32') == ('tpu', 32)
  assert read_topology('cuda:8') == ('cuda', 8)


@pytest.mark.parametrize('text', ['', '0', '-1', 'tpu', 'gpu:8', '8:tpu', '4.0'])
def test_another_topology_is_the_users_mistake(text):
  with pytest.raises(UserError, match=f'as in 32 or tpu:32, .*; found {text!r}'):
    read_topology(text)


def test_the_bytes_of_a_device_are_those_that_lie_on_it():
  mesh = make_mesh(fsdp=4)
  tree = {
    'large': jnp.zeros((512, 256)),
    'small': jnp.zeros((64, 3), jnp.bfloat16),
    'step': jnp.zeros((), jnp.int32),
  }
  placed = jax.device_put(tree, tree_shardings(tree, mesh=mesh))
  on_first = sum(
    shard.data.nbytes
    for leaf in jax.tree.leaves(placed)
    for shard in leaf.addressable_shards
    if shard.device == mesh.devices.flat[0]
  )
  assert bytes_of_device(tree, mesh=mesh) == on_first == 512 * 64 * 4 + 64 * 3 * 2 + 4


def test_collectives_are_counted_by_kind():
  program = """
    %a = f32[8]{0} all-reduce(%x), to_apply=%add, metadata={op_name="all-gather("}
    %b = (f32[8]{0}, f32[64]{0}) all-gather-start(%a), dimensions={0}
    %c = f32[64]{0} all-gather-done(%b)
    ROOT %d = f32[64]{0} all-reduce(%c), to_apply=%add
  """
  assert count_collectives(program) == {'all-gather': 1, 'all-reduce': 2}


def test_a_sum_over_a_sharded_axis_is_one_all_reduce():
  mesh = make_mesh()
  rows = jax.ShapeDtypeStruct((16, 4), jnp.float32)
  compiled = (
    jax.jit(
      lambda rows: rows.sum(axis=0),
      in_shardings=batch_sharding(mesh),
      out_shardings=NamedSharding(mesh, PartitionSpec()),
    )
    .lower(rows)
    .compile()
  )
  assert count_collectives(compiled.as_text()) == {'all-reduce': 1}


def test_the_memory_of_a_program_is_that_of_one_device():
  mesh = make_mesh()
  rows = place_everywhere(np.zeros((1024, 4), np.float32), mesh=mesh)
  compiled = jax.jit(lambda rows: rows + 1, donate_argnums=0).lower(rows).compile()
  memory = memory_of(compiled)
  assert memory.arguments == memory.outputs == memory.aliased == rows.nbytes
  assert memory.total == rows.nbytes + memory.temporaries
  assert str(Memory(arguments=7, outputs=2, temporaries=10**9, aliased=2)) == (
    '1.000 GB (arguments 0.000 GB, outputs 0.000 GB, 0.000 GB of them in the place of '
    'arguments, temporaries 1.000 GB)'
  )


@pytest.mark.parametrize('cache', ['device', 'host'])
def test_a_table_is_printed_and_no_folder_made(small_config, tmp_path, capsys, cache):
  config = small_config({'data.root': '', 'data.cache': cache})
  dry_run_topology(config, workdir=tmp_path / 'run', platform='tpu')
  stdout = capsys.readouterr().out
  assert stdout.startswith(f'{tmp_path}/run: the step on devices that are not there')
  for words in ('8 tpu, data 8 x fsdp 1', '513 trainable', '8, 1 a device', 'all-'):
    assert words in stdout
  assert ('each device holds its part' in stdout) == (cache == 'device')
  assert list(tmp_path.iterdir()) == []
