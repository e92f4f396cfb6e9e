"""The objective of a config, and the scalars that its contrastive loss starts from."""

import pathlib

import jax.numpy as jnp
from ml_collections import ConfigDict

from harma_jax.errors import expect_one_of
from harma_jax.model.clip import FIRST_TEMPERATURE_WITH_BIAS, Clip
from harma_jax.model.sizes import named_size
from harma_jax.objective.alignment import Objective, make_objective, warn_of_sum
from harma_jax.objective.contrast import CONTRASTS
from harma_jax.objective.sigmoid import first_bias
from harma_jax.rundir.workdir import has_saved, is_workdir, read_config


def contrastive_of(config: ConfigDict) -> str:
  """`softmax` or `sigmoid`; with `auto` as the weights were trained.

  Raises:
    UserError: another word.
  """
  name = config.objective.contrastive
  expect_one_of(('auto', *CONTRASTS), 'objective.contrastive', found=name)
  if name != 'auto':
    return name
  if is_workdir(config.init):
    return contrastive_of(read_config(config.init))
  return 'sigmoid' if named_size(config.model.size).logit_bias else 'softmax'


def resolve_contrastive(config: ConfigDict, *, workdir: pathlib.Path) -> ConfigDict:
  """`config` with `objective.contrastive='auto'` as a started run or the weights tell.

  Args:
    config: of a run whose `model.size` is known.
    workdir: its folder; what it has saved decides, and the weights may be gone by then.
  """
  if config.objective.contrastive != 'auto':
    return config
  known = read_config(workdir) if has_saved(workdir) else config
  config = config.copy_and_resolve_references()
  config.objective.contrastive = contrastive_of(known)
  return config


def objective_settings(config: ConfigDict) -> dict:
  """The arguments of `make_objective`."""
  return {**config.objective, 'contrastive': contrastive_of(config)}


def build_objective(config: ConfigDict) -> Objective:
  """The objective of `config.objective`; warns of a reduction that depends on B."""
  warn_of_sum(
    triplet_reduction=config.objective.triplet_reduction,
    triplet_weight=config.objective.triplet_weight,
    batch_size=config.train.batch_size,
  )
  return make_objective(**objective_settings(config))


def with_logits(config: ConfigDict, params: dict, *, model: Clip) -> dict:
  """`params` with the bias that a sigmoid loss trains, and the temperature beside it.

  Both start anew where the size or the objective wants a bias and `params` have none.
  """
  wanted = model.size.logit_bias or contrastive_of(config) == 'sigmoid'
  if not wanted or 'logit_bias' in params:
    return params
  return params | first_logits(config)


def first_logits(config: ConfigDict) -> dict:
  """Scalars of a sigmoid loss that no weights bring: SigLIP's, at the run's batch."""
  return {
    'temperature': jnp.float32(FIRST_TEMPERATURE_WITH_BIAS),
    'logit_bias': jnp.float32(first_bias(config.train.batch_size)),
  }


def fitting_logits(trained: dict, *, fresh: dict) -> dict:
  """`trained` parameters with a bias exactly where `fresh` ones have it.

  One that is missing starts anew, with the temperature: they belong together.
  """
  if 'logit_bias' not in fresh:
    return {name: part for name, part in trained.items() if name != 'logit_bias'}
  if 'logit_bias' in trained:
    return trained
  return trained | {name: fresh[name] for name in ('temperature', 'logit_bias')}
