"""The sharded step for devices that are not there: lowered, compiled, never run."""

import collections
import dataclasses
import functools
import math
import pathlib
import re
import time

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from harma_jax.building.check import check_config
from harma_jax.building.data import build_inputs, build_table, context_length
from harma_jax.building.model import build_model, frozen_dtype
from harma_jax.building.step import build_optimizer, build_step, state_shapes
from harma_jax.data.pixels import open_pixels
from harma_jax.devices.compilation import gigabytes, memory_of
from harma_jax.devices.mesh import (
  batch_sharding,
  layout_of,
  make_mesh,
  replicated,
  tree_shardings,
)
from harma_jax.devices.stop import interruptible
from harma_jax.errors import UserError
from harma_jax.model.clip import Clip
from harma_jax.reporting.tables import print_facts
from harma_jax.stepping.optim import count
from harma_jax.stepping.step import TrainState, cast_frozen, compile_step
from harma_jax.training.dry_run import INTERRUPTED
from harma_jax.training.run import stages

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


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainSizes:
  """Of the training split.

  Attributes:
    images: how many.
    captions: how many.
    canvas: height and width that all images fit.
    known: from a data set, and not assumed.
  """

  images: int
  captions: int
  canvas: tuple[int, int]
  known: bool


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
      facts = _facts(stage, mesh=make_mesh(fsdp=stage.mesh.fsdp), platform=platform)
      check()
      print_facts(f'{folder}: the step on devices that are not there', facts)


def for_platform(config: ConfigDict, platform: str) -> ConfigDict:
  """`config` with what it leaves to the backend as `platform` would decide it."""
  config = config.copy_and_resolve_references()
  for field in ('dtype', 'frozen_dtype'):
    if config.model[field] == 'auto' and platform != 'cpu':
      config.model[field] = 'bfloat16'
  return config


def train_sizes(config: ConfigDict) -> TrainSizes:
  """Of the data set, where one is there to be read; else of one batch."""
  root = pathlib.Path(config.data.root).expanduser()
  if config.data.root and root.is_dir() and not config.data.scenes.style:
    table = build_table(config, config.data.train_split)
    pixels = open_pixels(
      table,
      side=config.data.cache_side,
      threads=config.data.threads,
      max_pixels=config.data.max_pixels,
    )
    return TrainSizes(
      images=table.n_images,
      captions=table.n_captions,
      canvas=pixels.shape,
      known=True,
    )
  size = config.train.batch_size
  return TrainSizes(
    images=size,
    captions=size * config.data.captions_per_image,
    canvas=(config.data.cache_side, config.data.cache_side),
    known=False,
  )


def abstract_inputs(
  config: ConfigDict, model: Clip, *, mesh: Mesh, sizes: TrainSizes, on_device: bool
) -> tuple[dict, dict]:
  """Shapes, dtypes and shardings of what is resident and of a batch; see `make_inputs`.

  Args:
    config: of a run.
    model: that it trains.
    mesh: of all devices.
    sizes: of the training split.
    on_device: whether the images are resident, and not sent with each batch.
  """
  shape = functools.partial(jax.ShapeDtypeStruct, sharding=batch_sharding(mesh))
  batch, several = config.train.batch_size, config.data.captions_per_image

  def pixels(n):
    return {
      'images': shape((n, *sizes.canvas, 3), jnp.uint8),
      'sizes': shape((n, 2), jnp.int32),
    }

  tokens = (sizes.captions, context_length(config, model))
  resident = {
    'tokens': jax.ShapeDtypeStruct(tokens, jnp.int32, sharding=replicated(mesh))
  }
  sent = {
    name: shape((batch,), jnp.int32) for name in ('items', 'seed', 'epoch', 'image_ids')
  }
  if config.data.image_reuse:  # at most an image each pair
    sent['own'] = shape((batch,), jnp.int32)
  rows = (batch, several) if several > 1 else (batch,)
  sent['rows'] = shape(rows, jnp.int32)
  if on_device:
    whole = math.ceil(sizes.images / mesh.size) * mesh.size
    return resident | pixels(whole), sent
  return resident, sent | pixels(batch)


def trace_step(
  config: ConfigDict, *, mesh: Mesh, sizes: TrainSizes, on_device: bool
) -> tuple[TrainState, jax.stages.Traced]:
  """The abstract state of a run and its sharded step, traced for captions uncut."""
  model = build_model(config)
  optimizer, schedule = build_optimizer(config, total_steps=1)
  step = build_step(config, model, optimizer, schedule, total_steps=1)
  state = state_shapes(config, model, optimizer, n_captions=sizes.captions)
  state = cast_frozen(state, frozen_dtype(config))
  inputs = build_inputs(config, side=model.size.image_size, mesh=mesh)
  step = compile_step(step, state, mesh=mesh, inputs=inputs)
  given = abstract_inputs(config, model, mesh=mesh, sizes=sizes, on_device=on_device)
  return state, step.trace(state, *given)


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


def _facts(config: ConfigDict, *, mesh: Mesh, platform: str) -> dict[str, str]:
  sizes, size = train_sizes(config), config.train.batch_size
  on_device = config.data.cache == 'device'
  state, traced = trace_step(config, mesh=mesh, sizes=sizes, on_device=on_device)
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
    'data': _data_in_words(sizes, mesh=mesh, on_device=on_device),
    'lowering': f'{lowering:.1f} s, for {platform}',
    'compilation': f'{compiling:.1f} s, for {mesh.size} CPU devices',
    'memory of each CPU': str(memory_of(compiled)),
    'collectives': _collectives_in_words(count_collectives(compiled.as_text())),
  }


def _data_in_words(sizes: TrainSizes, *, mesh: Mesh, on_device: bool) -> str:
  if not sizes.known:
    where = 'none read; reckoned with those of one batch'
  else:
    where = f'{sizes.images:,} images, {sizes.captions:,} captions'
  if on_device:
    images = math.ceil(sizes.images / mesh.size)
    kept = gigabytes(images * math.prod((*sizes.canvas, 3)))
    return f'{where}; each device holds its part of all images ({kept})'
  return f'{where}; images sent with each batch'


def _collectives_in_words(counts: dict[str, int]) -> str:
  kinds = ', '.join(f'{count} {kind}' for kind, count in counts.items())
  return f'{kinds} (in loops over layers each once)' if kinds else 'none'
