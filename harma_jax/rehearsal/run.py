"""A run rehearsed: every stage and length of captions, compiled for a topology."""

import pathlib

import jax
from ml_collections import ConfigDict

from harma_jax.building.stages import stages
from harma_jax.devices.targets import Topology
from harma_jax.errors import UserError
from harma_jax.rehearsal.record import record_of
from harma_jax.rehearsal.remedy import Remedy, find_remedy
from harma_jax.rehearsal.stage import Stage, flop_of, lengths_of, read_stage
from harma_jax.rehearsal.stage_words import stage_in_words
from harma_jax.rehearsal.step import compile_for
from harma_jax.rehearsal.words import of_available, program_in_words
from harma_jax.reporting.tables import print_facts


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
  for folder, stage_config in stages(config, workdir=workdir).items():
    stage = read_stage(stage_config, topology)
    title = f'{folder}: the step on devices that are not there'
    print_facts(title, stage_in_words(stage))
    for length in lengths_of(stage)[: 1 if quick else None]:
      record = rehearse(stage, length=length)
      facts = program_in_words(record, topology=topology)
      print_facts(f'{folder}: for captions of {length} tokens', facts)
      if record['fits'] is False:
        refused.append((stage, record))
  for stage, record in refused[:1]:
    raise no_fit(stage, record)


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
    f'{record["tokens"]} tokens, {of_available(record)}. '
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
