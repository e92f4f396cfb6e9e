"""A run rehearsed: every stage and length of captions, compiled for a topology."""

import dataclasses
import math
import pathlib

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from harma_jax.building.abstract import TrainSizes, for_platform, train_sizes
from harma_jax.building.check import check_config
from harma_jax.building.data import build_table
from harma_jax.building.recipe import Recipe
from harma_jax.building.stages import stages
from harma_jax.building.text import (
  build_tokens,
  caption_lengths,
  context_length,
  longest_length,
)
from harma_jax.devices.absent import compiler_of, devices_of
from harma_jax.devices.mesh import layout_of
from harma_jax.devices.stop import interruptible
from harma_jax.devices.targets import SHARE_VARIABLES, Target, Topology, jax_share
from harma_jax.errors import UserError
from harma_jax.rehearsal.record import record_of
from harma_jax.rehearsal.remedy import Remedy, find_remedy
from harma_jax.rehearsal.step import bytes_of_device, compile_for, recipe_for
from harma_jax.rehearsal.words import gibibytes, of_available, program_in_words
from harma_jax.reporting.tables import print_facts
from harma_jax.speed.flop import flop_per_pair
from harma_jax.stepping.optim import count
from harma_jax.training.dry_run import INTERRUPTED


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stage:
  """A stage of a run on devices that are not there.

  Attributes:
    config: checked, with what it leaves open as the platform decides it.
    topology: that was asked for.
    compiler: its name and version; None where CPUs stand in.
    devices: that are compiled for.
    recipe: of the stage.
    sizes: of its training split.
  """

  config: ConfigDict
  topology: Topology
  compiler: str | None
  devices: list[jax.Device]
  recipe: Recipe
  sizes: TrainSizes


def dry_run_topology(
  config: ConfigDict, *, workdir: pathlib.Path, topology: Topology, quick: bool = False
) -> None:
  """Prints what the steps of a run would take on devices that are not there.

  Each step is compiled by the topology's own compiler where that is installed, else for
  as many CPUs, which the tables then say. No data are needed. To be called after
  `prepare`.

  Args:
    config: of a run.
    workdir: its folder, which tells the size of a started run; only read.
    topology: the devices.
    quick: only for the longest captions.

  Raises:
    UserError: a mistake in the config; devices that do not divide a batch; a step that
      does not fit, after all tables, with what would.
  """
  refused = []
  with interruptible(INTERRUPTED) as check:
    for folder, stage_config in stages(config, workdir=workdir).items():
      stage = read_stage(stage_config, topology)
      title = f'{folder}: the step on devices that are not there'
      print_facts(title, stage_in_words(stage))
      check()
      for length in lengths_of(stage)[: 1 if quick else None]:
        record = rehearse(stage, length=length)
        facts = program_in_words(record, topology=topology)
        print_facts(f'{folder}: for captions of {length} tokens', facts)
        check()
        if record['fits'] is False:
          refused.append((stage, record))
  for stage, record in refused[:1]:
    raise no_fit(stage, record)


def read_stage(config: ConfigDict, topology: Topology) -> Stage:
  """A stage of a run on the devices of a topology.

  Raises:
    UserError: a mistake in the config; devices that do not divide a batch.
  """
  devices, platform = devices_of(topology), topology.target.platform
  config = for_platform(config, platform)
  checked = config.copy_and_resolve_references()
  if config.model.attention == 'cudnn' and platform == 'cuda':
    checked.model.attention = 'auto'  # not to be refused for want of a GPU
  check_config(checked, devices=devices)
  recipe = recipe_for(config, devices=devices, target=topology.target)
  config.model.remat = recipe.model.remat
  return Stage(
    config=config,
    topology=topology,
    compiler=compiler_of(topology),
    devices=devices,
    recipe=recipe,
    sizes=train_sizes(config),
  )


def lengths_of(stage: Stage) -> list[int]:
  """The lengths to which a run cuts its captions, the longest first.

  Where there are data, up to what the longest one needs.
  """
  config, model = stage.config, stage.recipe.model
  lengths = *caption_lengths(config, model), context_length(config, model)
  if stage.sizes.known:
    table = build_table(config, config.data.train_split)
    tokens = build_tokens(config, table, model)
    lengths = (n for n in lengths if n <= longest_length(config, model, tokens))
  return sorted(lengths, reverse=True)


def rehearse(stage: Stage, *, length: int) -> dict:
  """What the step of a stage takes for captions of `length` tokens; see `record_of`."""
  model = stage.recipe.model
  return {
    'target': stage.topology.text,
    'devices': stage.topology.count,
    'compiler': stage.compiler,
    'framework': f'jax {jax.__version__}',
    'size': stage.config.model.size,
    'pairs': stage.recipe.pace.pairs,
    'tokens': length,
    'dtype': jax.numpy.dtype(model.dtype).name,
    'layers': model.layers,
    'remat': model.remat,
    'microbatch': stage.config.train.get('microbatch', 0),
    'fsdp': stage.config.mesh.fsdp,
    **_compile(stage, length=length, flop=flop_of(stage, length=length)),
  }


def flop_of(stage: Stage, *, length: int) -> float | None:
  """FLOP a pair by the project's count, for captions of `length` tokens."""
  config = stage.config.copy_and_resolve_references()
  config.mesh.fsdp = 1
  if 'microbatch' in config.train:
    config.train.microbatch = 0  # the body of a loop would count once
  recipe = recipe_for(config, devices=jax.devices()[:1], target=stage.topology.target)
  data = dataclasses.replace(recipe.data, context_length=length)
  return flop_per_pair(dataclasses.replace(recipe, data=data))


def stage_in_words(stage: Stage) -> dict[str, str]:
  """The lines of a table that all lengths of captions have in common."""
  recipe, topology = stage.recipe, stage.topology
  mesh, size = recipe.mesh, recipe.pace.batch_size
  state = recipe.trainer(total_steps=1).shapes_of(n_captions=stage.sizes.captions)
  weights, moments = (
    gibibytes(bytes_of_device(tree, mesh=mesh))
    for tree in ((state.trainable, state.frozen), state.optimizer_state)
  )
  facts = {
    'devices': f'{mesh.size} {topology.target.kind}, {layout_of(mesh)}',
    'a device': device_in_words(topology.target),
    'compiler': stage.compiler or no_compiler(topology),
    'parameters': (
      f'{count(state.trainable):,} trainable, {count(state.frozen):,} frozen; '
      f'{weights} a device, and {moments} of optimizer state'
    ),
    'batch': f'{size:,}, {size // mesh.size:,} a device',
    'data': data_in_words(stage.sizes, mesh=mesh),
  }
  return {name: words for name, words in facts.items() if words}


def device_in_words(target: Target) -> str | None:
  """What the table of kinds has of a device; None for a platform alone."""
  if target.peak is None:
    return None
  share = ''
  if target.platform == 'cuda':
    share = f', the {jax_share():.0%} that jax takes ({SHARE_VARIABLES[0]} changes it)'
  return (
    f'{target.peak / 1e12:,.0f} TFLOP/s in bfloat16, '
    f'{target.bandwidth / 1e9:,.0f} GB/s, '
    f'{gibibytes(target.memory)} for programs{share}'
  )


def no_compiler(topology: Topology) -> str:
  """Why the program is one for CPUs, and how to get the right one."""
  cpus = f'the program is the one for {topology.count} CPU devices'
  platform = topology.target.platform
  if topology.wants is None:
    return cpus
  package = 'libtpu' if platform == 'tpu' else "jax's CUDA plugin"
  return (
    f"{package} is not installed (pip install 'harma_jax[{platform}]'): {cpus}, whose "
    'memory and collectives may differ'
  )


def data_in_words(sizes: TrainSizes, *, mesh: Mesh) -> str:
  """How many, and where the images are."""
  where = 'none read; reckoned with those of one batch'
  if sizes.known:
    where = f'{sizes.images:,} images, {sizes.captions:,} captions'
  if not sizes.on_device:
    return f'{where}; images sent with each batch'
  images = math.ceil(sizes.images / mesh.size)
  kept = gibibytes(images * math.prod((*sizes.canvas, 3)))
  return f'{where}; each device holds its part of all images ({kept})'


def remedy_of(stage: Stage, record: dict) -> Remedy:
  """What would make a step fit that does not, found by compiling it."""

  def compile_with(config):
    return _compile_again(read_stage(config, stage.topology), length=record['tokens'])

  needed, available = record['needed_bytes'], record['available_bytes']
  return find_remedy(
    stage.config,
    devices=stage.topology.count,
    compile_with=compile_with,
    excess=needed / available if needed and available else 2.0,
  )


def no_fit(stage: Stage, record: dict) -> UserError:
  """The one message about a step that does not fit, with a remedy that was compiled."""
  return UserError(
    f'Expected a step that fits {stage.topology.text}; found, for captions of '
    f'{record["tokens"]} tokens, {of_available(record)} of a device. '
    f'{remedy_of(stage, record)}'
  )


def _compile_again(stage: Stage, *, length: int) -> dict:
  """`rehearse` without the count of FLOP, which is that of the run."""
  return _compile(stage, length=length, flop=None)


def _compile(stage: Stage, *, length: int, flop: float | None) -> dict:
  topology = stage.topology
  compiled = compile_for(
    stage.recipe,
    sizes=stage.sizes,
    length=length,
    platform=topology.target.platform,
  )
  return record_of(
    compiled,
    topology=topology,
    compiler=stage.compiler,
    pairs=stage.recipe.pace.pairs,
    flop_per_pair=flop,
  )
