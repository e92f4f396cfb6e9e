"""The weights that a run starts from, and those that a run has ended with."""

import contextlib
import dataclasses
import functools
import pathlib

import jax
import numpy as np
from absl import logging
from ml_collections import ConfigDict

from harma_jax.building.model import build_model
from harma_jax.building.objective import (
  first_logits,
  fitting_logits,
  resolve_contrastive,
  with_logits,
)
from harma_jax.building.step import param_shapes, split_trainable
from harma_jax.errors import UserError
from harma_jax.model.clip import Clip, init_params
from harma_jax.model.hub_sizes import HUB_INTERPOLATION, HUB_SIZES
from harma_jax.model.sizes import SIZES, named_size
from harma_jax.rundir.checkpoint import Checkpoints, step_to_read
from harma_jax.rundir.steps import OF_ONE_RUN
from harma_jax.rundir.workdir import (
  PRETRAIN,
  has_saved,
  is_workdir,
  read_config,
  read_provenance,
)
from harma_jax.weights.adapter import load_adapter
from harma_jax.weights.load import (
  check_leaves,
  graft,
  has_adapters,
  is_new,
  load_weights,
  warn_of_cleaning,
  warn_of_preprocessing,
)
from harma_jax.weights.names import paths_of, tree_of
from harma_jax.weights.peft import is_peft, load_peft
from harma_jax.weights.provenance import provenance
from harma_jax.weights.recognise import check_settings, recognise
from harma_jax.weights.sources import Source, open_source


def resolve(config: ConfigDict, *, workdir: pathlib.Path) -> ConfigDict:
  """`config` with what the starting weights tell: its size and contrastive loss.

  See `resolve_size`.
  """
  return resolve_contrastive(resolve_size(config, workdir=workdir), workdir=workdir)


def resolve_size(config: ConfigDict, *, workdir: pathlib.Path) -> ConfigDict:
  """`config` with `model.size='auto'` as a started run or the starting weights tell it.

  So is what images undergo, `model.mean`, `std`, `interpolation`, unless it is set.

  Args:
    config: of a run.
    workdir: its folder; what it has saved decides, and the weights may be gone by then.

  Raises:
    UserError: there are no weights, or they do not tell.
  """
  if config.model.size != 'auto':
    return config
  if has_saved(workdir) or is_workdir(config.init):
    known = read_config(workdir if has_saved(workdir) else config.init).model
    found = {name: known[name] for name in ('size', *_SEEN)}
  elif config.init in HUB_SIZES:
    found = {
      'size': HUB_SIZES[config.init],
      'interpolation': HUB_INTERPOLATION.get(config.init, ''),
    }
  elif config.init:
    found = _found_in(open_source(config.init))
  else:
    raise UserError(
      'model.size: expected a size where init is empty; found auto. '
      f'Set --config.model.size to one of {", ".join(SIZES)}.'
    )
  config = config.copy_and_resolve_references()
  config.model.size = found['size']
  for name in _SEEN:
    config.model[name] = config.model[name] or found.get(name, config.model[name])
  return config


# The fields of `config.model` that say how images come before the towers.
_SEEN = ('image_size', 'mean', 'std', 'interpolation')


def _found_in(source: Source) -> dict:
  """Fields of `config.model` as weights tell them; empty ones as the size has them."""
  name, pixels = recognise(source)
  size = named_size(name)
  own = dataclasses.asdict(size.preprocessing)
  told = dataclasses.asdict(source.preprocessing or size.preprocessing)
  return {
    'size': name,
    'image_size': 0 if pixels == size.image_size else pixels,
    **{
      field: type(value)() if value == own[field] else value
      for field, value in told.items()
    },
  }


def build_params(config: ConfigDict, model: Clip, *, init: str) -> tuple[dict, dict]:
  """Starting parameters, random or those of `init`, and a record of their origin.

  The adapters of `config.adapter` come last, in place of what is there.

  Raises:
    UserError: `init` or the adapters cannot be read or do not fit the model.
  """
  params, record = _build_backbone(config, model, init=init)
  if config.adapter:
    params, record['adapter'] = _load_adapter(config, params, model=model)
  return with_logits(config, params, model=model), record


def _load_adapter(
  config: ConfigDict, params: dict, *, model: Clip
) -> tuple[dict, dict]:
  load = load_peft if is_peft(config.adapter) else load_adapter
  return load(config.adapter, params, model=model, cleaning=config.data.cleaning)


def _build_backbone(config: ConfigDict, model: Clip, *, init: str) -> tuple[dict, dict]:
  key = jax.random.key(config.seed)
  if is_workdir(init):
    trained = read_config(init).data.cleaning
    warn_of_cleaning(trained, cleaning=config.data.cleaning, source=init)
    fresh = with_logits(config, build_fresh(model, key), model=model)
    trained = fitting_logits(read_workdir(init), fresh=fresh)
    params = graft(fresh, trained, source_name=init)
    return params, {'init': init, 'run': read_provenance(init)}
  if init:
    source = open_source(init)
    check_settings(source, model.size)
    warn_of_preprocessing(source, model.size)
    # Adapters that say nothing are of the original, or of an older export.
    trained = source.cleaning or ('released' if has_adapters(source) else '')
    warn_of_cleaning(trained, cleaning=config.data.cleaning, source=init)
    params = load_weights(source, build_fresh(model, key), model=model)
    return params, provenance(source, init=init, model=model)
  if config.optimizer.train != 'full':
    logging.warning(
      'init is empty: the frozen weights are random, and optimizer.train=%s learns '
      'little from them. Set --config.init=... or --config.optimizer.train=full.',
      config.optimizer.train,
    )
  params = init_params(model, key)
  # In place of what the model starts from, which knows of no batch.
  fresh = first_logits(config) if 'logit_bias' in params else {}
  return params | fresh, {'init': '', 'seed': config.seed}


def build_fresh(model: Clip, key: jax.Array) -> dict:
  """What weights are loaded into: new parameters, and shapes of CLIP's own."""

  def new(key):
    params = paths_of(init_params(model, key))
    scalars = 'temperature', 'logit_bias'
    return {p: leaf for p, leaf in params.items() if is_new(p) or p in scalars}

  return tree_of(
    paths_of(jax.eval_shape(functools.partial(init_params, model), key))
    | jax.jit(new)(key)
  )


def check_init(init: str) -> None:
  """Opens the file of `build_params`, and downloads it where it is one of a hub.

  Raises:
    UserError: there is none, or it cannot be read.
  """
  if init and not is_workdir(init):
    open_source(init)


def read_workdir(workdir: str | pathlib.Path) -> dict:
  """The parameters of a run's best step, as numpy arrays.

  Raises:
    UserError: nothing has been saved in `workdir`, or that of another model.
  """
  workdir = pathlib.Path(workdir).expanduser()
  config = read_config(workdir)
  with contextlib.closing(Checkpoints(workdir)) as checkpoints:
    params = checkpoints.read_params(step_to_read(checkpoints, workdir=workdir))
  check_leaves(
    paths_of(params),
    paths_of(param_shapes(config, build_model(config))),
    source_name=workdir,
    remedy=OF_ONE_RUN,
  )
  return params


def read_start(workdir: str | pathlib.Path) -> dict:
  """The parameters before a run's first step, as numpy arrays.

  They are built again as the run built them: from the weights of `init`, or from the
  run that came first.

  Raises:
    UserError: `workdir` is not the folder of a run, or the weights that it started from
      are gone or are others now.
  """
  config = read_config(workdir)
  first = pathlib.Path(workdir) / PRETRAIN
  init = str(first) if is_workdir(first) else config.init
  params, record = build_params(config, build_model(config), init=init)
  params = jax.device_get(params)
  _, frozen = split_trainable(config, params)
  saved, known = paths_of(read_workdir(workdir)), read_provenance(workdir)
  if record.get('sha256') != known.get('sha256', record.get('sha256')) or any(
    not np.array_equal(leaf, saved[path]) for path, leaf in paths_of(frozen).items()
  ):
    raise UserError(
      f'Expected the weights that the run in {workdir} started from; those of '
      f'{init or "its seed"} are others now. Bring the old ones back.'
    )
  return params
