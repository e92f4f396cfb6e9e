"""A stage of a run on devices that are not there."""

import dataclasses

import jax
from ml_collections import ConfigDict

from harma_jax.building.abstract import TrainSizes, for_platform, train_sizes
from harma_jax.building.batch import fit_batch
from harma_jax.building.check import check_config
from harma_jax.building.data import build_table
from harma_jax.building.recipe import Recipe
from harma_jax.building.text import (
  build_tokens,
  caption_lengths,
  context_length,
  longest_length,
)
from harma_jax.devices.absent import compiler_of, devices_of
from harma_jax.devices.targets import Topology
from harma_jax.rehearsal.step import recipe_for
from harma_jax.speed.flop import flop_per_pair


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


def read_stage(config: ConfigDict, topology: Topology) -> Stage:
  """A stage of a run on the devices of a topology.

  Raises:
    UserError: a mistake in the config; devices that do not divide a batch.
  """
  devices, platform = devices_of(topology), topology.target.platform
  memory = topology.target.memory
  config = fit_batch(for_platform(config, platform), count=len(devices))
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
    sizes=train_sizes(config, device_bytes=memory and memory * topology.count),
  )


def lengths_of(stage: Stage) -> list[int]:
  """The lengths to which a run cuts its captions, the longest first.

  Where there are data, up to what the longest one needs.
  """
  config, model = stage.config, stage.recipe.model
  shorter = caption_lengths(config, model)
  lengths = *shorter, context_length(config, model)
  if shorter and stage.sizes.known:
    table = build_table(config, config.data.train_split)
    tokens = build_tokens(config, table, model)
    lengths = (n for n in lengths if n <= longest_length(config, model, tokens))
  return sorted(lengths, reverse=True)


def flop_of(stage: Stage, *, length: int) -> float | None:
  """FLOP a pair by the project's count, for captions of `length` tokens."""
  config = stage.config.copy_and_resolve_references()
  config.mesh.fsdp = 1
  if 'microbatch' in config.train:
    config.train.microbatch = 0  # the body of a loop would count once
  recipe = recipe_for(config, devices=jax.devices()[:1], target=stage.topology.target)
  data = dataclasses.replace(recipe.data, context_length=length)
  return flop_per_pair(dataclasses.replace(recipe, data=data))
