"""The step on devices that are not there: its shapes, bytes and memory."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from harma_jax.building.abstract import train_sizes
from harma_jax.devices.compilation import Memory, memory_of
from harma_jax.devices.mesh import make_mesh, place_everywhere, tree_shardings
from harma_jax.devices.targets import named_target
from harma_jax.rehearsal import step
from harma_jax.rehearsal.parts import part_of
from harma_jax.rehearsal.refusal import Refusal
from harma_jax.rehearsal.step import bytes_of_device, compile_for, recipe_for


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


def compiled_of(config, length=8):
  recipe = recipe_for(config, devices=jax.devices(), target=named_target('v5e'))
  return compile_for(recipe, sizes=train_sizes(config), length=length, platform='tpu')


@pytest.mark.parametrize('cache', ['device', 'host'])
def test_what_the_step_is_given_is_told_by_kind(small_config, cache):
  config = small_config({'data.root': '', 'data.cache': cache})
  found = compiled_of(config)
  assert found.refusal is None
  images = 1 * 256 * 256 * 3  # of eight, one a device
  assert found.held['images'] == images
  assert found.held['weights'] > found.held['optimizer'] > 0
  indices = found.memory.arguments - sum(found.held.values())
  assert 0 < indices < 0.05 * found.memory.arguments
  parts = {part_of(name) for name in re.findall(r'op_name="([^"]*)"', found.text)}
  assert parts >= {'augmentation', 'loss', 'image tower, forward'}
  assert ('look-up of images' in parts) == (cache == 'device')


def test_several_steps_in_one_program_are_compiled_as_such(small_config):
  several = small_config({'data.root': '', 'train.steps_per_dispatch': 3})
  one = small_config({'data.root': ''})
  images = [compiled_of(config).memory.arguments for config in (several, one)]
  assert images[0] > images[1] + 2 * 256 * 256 * 3


class Lowered:
  """Stands for a program that a compiler refuses with `messages`, one after another."""

  def __init__(self, *messages):
    self.messages, self.options = list(messages), []

  def compile(self, compiler_options=None):
    self.options.append(compiler_options)
    if self.messages:
      raise jax.errors.JaxRuntimeError(self.messages.pop(0))
    return 'compiled'


def test_a_refusal_is_no_traceback_and_another_error_is_one():
  lowered = Lowered('RESOURCE_EXHAUSTED: (40.00G) exceeds available HBM (15.00G).')
  found = step._compile(lowered, of_cpu=False)
  assert found == (None, Refusal(needed=40 * 2**30, available=15 * 2**30))
  with pytest.raises(jax.errors.JaxRuntimeError, match='INTERNAL'):
    step._compile(Lowered('INTERNAL: a defect'), of_cpu=False)


def test_products_that_triton_cannot_tile_are_left_to_another_library():
  lowered = Lowered("INTERNAL: Couldn't find output tile sizes for a fusion")
  assert step._compile(lowered, of_cpu=False) == ('compiled', None)
  assert lowered.options == [None, step.NO_TRITON]
