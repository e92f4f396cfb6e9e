"""The sharded step for devices that are not there: lowered, compiled, never run."""

import collections
import math
import pathlib
import re
import time

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from harma_jax.building.abstract import (
  TrainSizes,
  abstract_inputs,
  for_platform,
  train_sizes,
)
from harma_jax.building.check import check_config
from harma_jax.building.model import build_model
from harma_jax.building.recipe import Recipe, build_recipe
from harma_jax.building.stages import stages
from harma_jax.devices.compilation import gigabytes, memory_of
from harma_jax.devices.mesh import (
  layout_of,
  tree_shardings,
)
from harma_jax.devices.stop import interruptible
from harma_jax.errors import UserError
from harma_jax.reporting.tables import print_facts
from harma_jax.stepping.optim import count
from harma_jax.stepping.step import TrainState, compile_step
from harma_jax.training.dry_run import INTERRUPTED

PLATFORMS = ('cpu', 'cuda', 'tpu')
COLLECTIVES = (
  *('all-gather', 'all-reduce', 'all-to-all', 'collective-broadcast'),
  *('collective-permute', 'ragged-all-to-all', 'reduce-scatter'),
)
# Where the compiler puts arrays does not depend on the instructions it then chooses.
COMPILE_FAST = {
  'xla_backend_optimization_level': 0,
  'xla_llvm_disable_expensive_passes': True,
}


def read_topology(text: str) -> tuple[str, int]:
  """The platform and the number of devices of `N` (then of `cpu`) or `PLATFORM:N`.

  Raises:
    UserError: it says something else.
  """
  match = re.fullmatch(rf'(?:({"|".join(PLATFORMS)}):)?([1-9]\d*)', text)
  if not match:
    raise UserError(
      '--dry_run_topology: expected a number of devices, as in 32 or tpu:32, the '
      f'platform one of {", ".join(PLATFORMS)}; found {text!r}.'
    )
  return match[1] or 'cpu', int(match[2])


def pretend_devices(number: int) -> None:
  """Makes jax show so many CPU devices; to be called before it touches any."""
  jax.config.update('jax_platforms', 'cpu')
  jax.config.update('jax_num_cpu_devices', number)


def dry_run_topology(
  config: ConfigDict, *, workdir: pathlib.Path, platform: str
) -> None:
  """Prints what a device would hold and exchange if all that jax shows were `platform`.

  The step is lowered for the platform; memory and collectives are those of the same
  program compiled for CPUs, of which there must be as many. No data are needed.

  Args:
    config: of a run.
    workdir: its folder, which tells the size of a started run; only read.
    platform: one of `PLATFORMS`.

  Raises:
    UserError: a mistake in the config; devices that do not divide a batch.
  """
  with interruptible(INTERRUPTED) as check:
    for folder, stage in stages(config, workdir=workdir).items():
      stage = for_platform(stage, platform)
      check_config(stage)
      facts = _facts(stage, platform=platform)
      check()
      print_facts(f'{folder}: the step on devices that are not there', facts)


def trace_step(
  recipe: Recipe, inputs: tuple[dict, dict], *, n_captions: int
) -> tuple[TrainState, jax.stages.Traced]:
  """The abstract state of a run and its sharded step, traced for captions uncut.

  Args:
    recipe: of the run.
    inputs: of `abstract_inputs`.
    n_captions: of the training split.
  """
  trainer = recipe.trainer(total_steps=1)
  state = trainer.shapes_of(n_captions=n_captions)
  step = compile_step(trainer.step, state, mesh=recipe.mesh, inputs=trainer.inputs)
  return state, step.trace(state, *inputs)


def bytes_of_device(tree, *, mesh: Mesh) -> int:
  """What a device holds of a tree of arrays or shapes laid out by `tree_shardings`."""
  shardings = tree_shardings(tree, mesh=mesh)
  of_leaves = jax.tree.map(
    lambda leaf, sharding: (
      math.prod(sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize
    ),
    tree,
    shardings,
  )
  return sum(jax.tree.leaves(of_leaves))


def count_collectives(program: str) -> dict[str, int]:
  """How many instructions of each kind a compiled program's text has.

  What is in the body of a loop, as over layers, counts once.
  """
  kinds = '|'.join(COLLECTIVES)
  found = re.findall(rf'\s({kinds})(?:-start)?\(', program)
  return dict(sorted(collections.Counter(found).items()))


def _facts(config: ConfigDict, *, platform: str) -> dict[str, str]:
  recipe, sizes = build_recipe(config, build_model(config)), train_sizes(config)
  mesh, size = recipe.mesh, recipe.pace.batch_size
  inputs = abstract_inputs(config, recipe.model, mesh=mesh, sizes=sizes)
  state, traced = trace_step(recipe, inputs, n_captions=sizes.captions)
  clock = [time.monotonic()]
  traced.lower(lowering_platforms=(platform,))
  clock.append(time.monotonic())
  compiled = traced.lower().compile(compiler_options=COMPILE_FAST)
  clock.append(time.monotonic())
  lowering, compiling = np.diff(clock)
  weights, moments = (
    gigabytes(bytes_of_device(tree, mesh=mesh))
    for tree in ((state.trainable, state.frozen), state.optimizer_state)
  )
  return {
    'devices': f'{mesh.size} {platform}, {layout_of(mesh)}',
    'parameters': (
      f'{count(state.trainable):,} trainable, {count(state.frozen):,} frozen; '
      f'{weights} a device, and {moments} of optimizer state'
    ),
    'batch': f'{size:,}, {size // mesh.size:,} a device',
    'data': _data_in_words(sizes, mesh=mesh),
    'lowering': f'{lowering:.1f} s, for {platform}',
    'compilation': f'{compiling:.1f} s, for {mesh.size} CPU devices',
    'memory of each CPU': str(memory_of(compiled)),
    'collectives': _collectives_in_words(count_collectives(compiled.as_text())),
  }


def _data_in_words(sizes: TrainSizes, *, mesh: Mesh) -> str:
  if not sizes.known:
    where = 'none read; reckoned with those of one batch'
  else:
    where = f'{sizes.images:,} images, {sizes.captions:,} captions'
  if sizes.on_device:
    images = math.ceil(sizes.images / mesh.size)
    kept = gigabytes(images * math.prod((*sizes.canvas, 3)))
    return f'{where}; each device holds its part of all images ({kept})'
  return f'{where}; images sent with each batch'


def _collectives_in_words(counts: dict[str, int]) -> str:
  kinds = ', '.join(f'{count} {kind}' for kind, count in counts.items())
  return f'{kinds} (in loops over layers each once)' if kinds else 'none'
