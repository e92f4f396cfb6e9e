"""The train step of a config, and the state that it starts from."""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from ml_collections import ConfigDict

from harma_jax.building.data import build_inputs
from harma_jax.building.model import frozen_dtype
from harma_jax.building.objective import build_objective, contrastive_of, with_logits
from harma_jax.errors import expect_one_of
from harma_jax.model.clip import Clip, init_params
from harma_jax.objective.alignment import Objective
from harma_jax.objective.head import Head, harmonized_head, plain_head
from harma_jax.stepping.microbatch import at_once, make_in_parts
from harma_jax.stepping.optim import (
  MODES,
  label_leaves,
  make_optimizer,
  make_schedule,
  patterns_of,
  split_params,
)
from harma_jax.stepping.step import (
  TrainState,
  cast_frozen,
  guard,
  init_state,
  make_train_step,
)

SPACES = ('embedding', 'adapter')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trainer:
  """What takes the steps of a run.

  Attributes:
    step: the pure, guarded step `(state, batch) -> (state, metrics)`.
    inputs: `(resident, batch) -> batch` of the step; see `make_inputs`.
    over_rows: `(encode, rows) -> encode(rows)`, how both go over a batch.
    state_of: `(params, n_captions=) -> TrainState` before the first step.
    shapes_of: `(n_captions=) -> TrainState` of shapes and of dtypes as on devices.
    frozen_dtype: in which the weights that do not train are kept on the devices.
  """

  step: Callable[[TrainState, dict], tuple[TrainState, dict]]
  inputs: Callable[[dict, dict], dict]
  over_rows: Callable
  state_of: Callable[..., TrainState]
  shapes_of: Callable[..., TrainState]
  frozen_dtype: jnp.dtype


def build_trainer(
  config: ConfigDict, *, model: Clip, mesh: Mesh, total_steps: int
) -> Trainer:
  """Optimizer, schedule, objective and state of a run over `total_steps` steps."""
  optimizer, schedule = build_optimizer(config, total_steps=total_steps)
  dtype = frozen_dtype(config)

  over_rows = build_over_rows(config, mesh=mesh)
  step = build_step(
    config, model, optimizer, schedule, total_steps=total_steps, over_rows=over_rows
  )

  def shapes_of(*, n_captions):
    shapes = state_shapes(config, model, optimizer, n_captions=n_captions)
    return cast_frozen(shapes, dtype)

  return Trainer(
    step=step,
    over_rows=over_rows,
    inputs=build_inputs(
      config,
      side=model.size.image_size,
      mesh=mesh,
      over_rows=over_rows,
      interpolation=model.size.preprocessing.interpolation,
    ),
    state_of=functools.partial(build_state, config, optimizer=optimizer),
    shapes_of=shapes_of,
    frozen_dtype=dtype,
  )


def build_optimizer(config: ConfigDict, *, total_steps: int):
  """The optimizer and the schedule of `config.optimizer` over `total_steps` steps."""
  config = config.optimizer
  expect_one_of(MODES, 'optimizer.train', found=config.train)
  schedule = make_schedule(
    config.schedule,
    learning_rate=config.learning_rate,
    warmup_steps=round(config.warmup * total_steps),
    total_steps=total_steps,
  )
  optimizer = make_optimizer(
    schedule,
    kind=config.kind,
    b1=config.b1,
    b2=config.b2,
    eps=config.eps,
    weight_decay=config.weight_decay,
    clip_norm=config.clip_norm,
  )
  return optimizer, schedule


def build_head(config: ConfigDict, objective: Objective, *, total_steps: int) -> Head:
  """The head of the step: plain, or harmonized as `config.harmonization` says."""
  settings = config.harmonization
  expect_one_of(SPACES, 'harmonization.space', found=settings.space)
  if settings.pair == 'none':
    return plain_head(objective)
  return harmonized_head(
    objective,
    pair=settings.pair,
    realign=settings.realign,
    curriculum=settings.curriculum,
    indicator=settings.indicator,
    threshold=tuple(settings.threshold),
    unit=settings.threshold_unit,
    start_step=round(settings.start * total_steps),
    anneal_steps=round(settings.anneal * total_steps),
    renormalize=settings.renormalize,
    seed=config.seed,
    contrastive=contrastive_of(config),
  )


def build_over_rows(config: ConfigDict, *, mesh: Mesh) -> Callable:
  """How a step goes over its batch: at once, or `train.microbatch` rows at a time."""
  size = config.train.microbatch
  return make_in_parts(size=size, mesh=mesh) if size else at_once


def build_step(
  config: ConfigDict,
  model: Clip,
  optimizer,
  schedule,
  *,
  total_steps: int,
  over_rows: Callable = at_once,
) -> Callable[[TrainState, dict], tuple[TrainState, dict]]:
  """The step of a run over `total_steps` steps, with the guard of its config.

  `over_rows` is that of `build_over_rows`.
  """
  settings = config.harmonization
  in_weights = settings.pair != 'none' and settings.space == 'adapter'
  head = build_head(config, build_objective(config), total_steps=total_steps)
  step = make_train_step(
    model,
    head,
    optimizer,
    schedule,
    over_rows=over_rows,
    weight_space_chunk=settings.chunk if in_weights else 0,
  )
  return guard(step, halt=config.train.on_nonfinite == 'raise')


def split_trainable(config: ConfigDict, params: dict) -> tuple[dict, dict]:
  """Parameters, or shapes of them, as those that train and those that do not."""
  patterns = patterns_of(
    config.optimizer.train,
    shared='shared_adapter' in params,
    adapters=config.model.adapters,
  )
  labels = label_leaves(params, patterns)
  return split_params(params, labels)


def build_state(
  config: ConfigDict, params: dict, optimizer, *, n_captions: int = 0
) -> TrainState:
  """The state before the first step, from parameters (or, under eval_shape, shapes).

  Args:
    config: of the run.
    params: all parameters.
    optimizer: of the trainable ones.
    n_captions: of the training split, for the account that harmonization keeps of them.
  """
  trainable, frozen = split_trainable(config, params)
  keeps_account = config.harmonization.pair != 'none'
  return init_state(
    trainable,
    frozen,
    optimizer=optimizer,
    curriculum_size=n_captions if keeps_account else 0,
  )


def state_shapes(
  config: ConfigDict, model: Clip, optimizer, *, n_captions: int = 0
) -> TrainState:
  """The state before the first step as shapes and dtypes; nothing is computed.

  Raises:
    UserError: `optimizer.train` does not fit the model's parameters.
  """
  build = functools.partial(
    build_state, config, optimizer=optimizer, n_captions=n_captions
  )
  return jax.eval_shape(build, param_shapes(config, model))


def param_shapes(config: ConfigDict, model: Clip) -> dict:
  """All parameters of a config's model as shapes and dtypes; nothing is computed."""

  def fresh(key):
    return with_logits(config, init_params(model, key), model=model)

  return jax.eval_shape(fresh, jax.random.key(0))
