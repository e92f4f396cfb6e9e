"""The stages of a run, a folder each; a pretraining, where there is one, first."""

import pathlib

import jax
from absl import logging
from ml_collections import ConfigDict

from harma_jax.building.batch import fit_batch
from harma_jax.building.check import check_config
from harma_jax.building.model import (
  build_model,
  build_size,
  with_fastest_attention,
)
from harma_jax.building.params import resolve
from harma_jax.building.recipe import Recipe, build_recipe
from harma_jax.data.tables import check_root
from harma_jax.devices.processes import agree, code_version
from harma_jax.errors import UserError
from harma_jax.model.families import CLIP
from harma_jax.rundir.seeds import check_not_of_seeds
from harma_jax.rundir.workdir import (
  PRETRAIN,
  check_workdir,
  flat,
  has_saved,
  with_kept_tokenizer,
)


def read_recipes(
  config: ConfigDict, *, workdir: pathlib.Path
) -> dict[pathlib.Path, Recipe]:
  """The recipe of each stage by its folder, in the order in which they train.

  All that can be found wrong before data are read is found here.

  Raises:
    UserError: a mistake in the config; another config, or several seeds, in `workdir`;
      processes that differ.
  """
  agree(
    {'code': code_version()}
    | {f'config.{name}': str(value) for name, value in flat(config).items()}
  )
  check_not_of_seeds(workdir)
  check_root(config.data.root)  # before what may be a long download
  runs = {
    folder: _with_tokenizer(fit_batch(stage, count=jax.device_count()), folder)
    for folder, stage in stages(config, workdir=workdir).items()
  }
  for folder, stage in runs.items():
    check_config(stage)
    check_workdir(folder, stage, may_go_on=folder == workdir)
    _warn_of_test(stage)
  return {
    folder: build_recipe(stage, with_fastest_attention(stage, build_model(stage)))
    for folder, stage in runs.items()
  }


def _with_tokenizer(config: ConfigDict, folder: pathlib.Path) -> ConfigDict:
  """`config` with what a started run keeps, unless it names one that is there."""
  told = config.model.tokenizer
  is_there = told and pathlib.Path(told).expanduser().exists()
  if is_there or not has_saved(folder):
    return config
  return with_kept_tokenizer(config, folder)


def _warn_of_test(config: ConfigDict) -> None:
  if config.evaluation.select_on == 'test':
    logging.warning(
      'evaluation.select_on=test: the checkpoint is CHOSEN ON THE TEST SPLIT. Its test '
      'recall is biased upwards and comparable only to numbers chosen the same way.'
    )


def stages(
  config: ConfigDict, *, workdir: pathlib.Path
) -> dict[pathlib.Path, ConfigDict]:
  """The config of each folder, in the order in which they train."""
  config = resolve(config, workdir=workdir)
  if PRETRAIN not in config:
    return {workdir: config}
  if config.init:
    logging.info('init=%s takes the place of the pretraining', config.init)
    return {workdir: config}
  first = config.copy_and_resolve_references()
  with first.unlocked():
    del first[PRETRAIN]
  try:
    first.lock().update(config[PRETRAIN])
  except (AttributeError, KeyError, TypeError) as error:
    raise UserError(
      f'pretrain: expected fields of the config, with values of their types; {error}.'
    ) from error
  if build_size(config.model).family is not CLIP:
    # Its weights are to come, with the tokenizer of those that come first.
    config = config.copy_and_resolve_references()
    config.model.tokenizer = first.model.tokenizer or first.init
  return {workdir / PRETRAIN: first, workdir: config}
