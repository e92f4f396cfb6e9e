"""What devices exchange is counted by channel, and by how often it runs."""

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from harma_jax.devices.mesh import batch_sharding, make_mesh
from harma_jax.rehearsal.collectives import Exchange, by_kind, exchanges_of
from harma_jax.rehearsal.hlo import read_program


def test_an_exchange_that_the_text_repeats_counts_once(program):
  assert by_kind(exchanges_of(program)) == {
    'all-gather': {'count': 1, 'runs': 1, 'bytes': 16 * 8 * 4},
    'all-reduce': {'count': 1, 'runs': 1, 'bytes': 4 * 8 * 2},
    # Its number is that of the all-gather, and its kind another.
    'reduce-scatter': {'count': 1, 'runs': 1, 'bytes': 4 * 8 * 4},
  }


def test_one_in_a_loop_runs_as_often_as_the_loop():
  exchange = Exchange(kind='all-reduce', bytes=10, runs=12)
  other = Exchange(kind='all-reduce', bytes=1, runs=1)
  assert by_kind((exchange, other)) == {
    'all-reduce': {'count': 2, 'runs': 13, 'bytes': 121}
  }


def test_a_sum_over_a_sharded_axis_is_one_all_reduce():
  mesh = make_mesh()
  compiled = (
    jax.jit(
      lambda rows: rows.sum(axis=0),
      in_shardings=batch_sharding(mesh),
      out_shardings=NamedSharding(mesh, PartitionSpec()),
    )
    .lower(jax.ShapeDtypeStruct((16, 4), jnp.float32))
    .compile()
  )
  found = exchanges_of(read_program(compiled.as_text()))
  assert by_kind(found) == {'all-reduce': {'count': 1, 'runs': 1, 'bytes': 16}}
