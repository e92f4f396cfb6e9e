"""The step of a run, compiled for random weights and pairs."""

import dataclasses
import functools
import math
import time

import jax
import jax.numpy as jnp

from harma_jax.building.recipe import Recipe
from harma_jax.building.step import Trainer
from harma_jax.devices.mesh import tree_shardings
from harma_jax.model.clip import Clip, init_params
from harma_jax.speed.batch import batch_of
from harma_jax.stepping.step import TrainState, cast_frozen, compile_step
from harma_jax.stepping.stepper import place_group

TOTAL_STEPS = 1000  # of the schedule
POOL = 2**16  # random numbers, which larger weights repeat


@dataclasses.dataclass(frozen=True, kw_only=True)
class CompiledStep:
  """A compiled step and what it is run on.

  Attributes:
    state: before the first step, on the devices.
    arguments: what the step takes beside it, on the devices.
    trainer: whose step it is.
    step: the compiled one, of several batches where `train.steps_per_dispatch` says so.
    compile_seconds: what compiling took.
  """

  state: TrainState
  arguments: tuple
  trainer: Trainer
  step: jax.stages.Compiled
  compile_seconds: float


def compile_random(recipe: Recipe, *, n_captions: int) -> CompiledStep:
  """Compiles the step; `n_captions` are those of the training split."""
  trainer = recipe.trainer(total_steps=TOTAL_STEPS)
  state = _random_state(recipe, trainer, n_captions=n_captions)
  arguments, options = _random_arguments(recipe)
  start = time.perf_counter()
  jitted = compile_step(trainer.step, state, mesh=recipe.mesh, **options)
  compiled = jitted.lower(state, *arguments).compile()
  seconds = time.perf_counter() - start
  return CompiledStep(
    state=state,
    arguments=arguments,
    trainer=trainer,
    step=compiled,
    compile_seconds=seconds,
  )


@functools.partial(jax.jit, static_argnums=0)
def random_params(model: Clip, key: jax.Array) -> dict:
  """All parameters at random, f32, without the seconds that drawing each takes.

  Large matrices repeat one pool of normal numbers, of variance one over their inputs;
  the rest is as the model draws it.
  """
  pool = jax.random.normal(key, (POOL,))

  def make(leaf):
    is_small = leaf.size < POOL
    return leaf if is_small else _repeated(pool * leaf.shape[-2] ** -0.5, leaf.shape)

  return jax.tree.map(make, init_params(model, key))


def _repeated(pool: jax.Array, shape: tuple[int, ...]) -> jax.Array:
  """f32[shape], the pool over and over."""
  size = math.prod(shape)
  times = -(-size // len(pool))
  return jnp.broadcast_to(pool, (times, len(pool))).ravel()[:size].reshape(shape)


def _random_state(recipe: Recipe, trainer: Trainer, *, n_captions: int) -> TrainState:
  """The state before the first step, made where it is to lie."""

  def make(key):
    params = random_params(recipe.model, key)
    state = trainer.state_of(params, n_captions=n_captions)
    return cast_frozen(state, trainer.frozen_dtype)

  key = jax.random.key(recipe.seed)
  shardings = tree_shardings(jax.eval_shape(make, key), mesh=recipe.mesh)
  return jax.jit(make, out_shardings=shardings)(key)


def _random_arguments(recipe: Recipe) -> tuple[tuple, dict]:
  """What the step takes beside its state, on the devices; options of `compile_step`."""
  batch, size = batch_of(recipe), recipe.pace.dispatch
  group = [(batch, recipe.data.context_length)] * size
  arguments, _ = place_group(group, size=size, mesh=recipe.mesh)
  if size == 1:
    return arguments, {}
  options = {'inputs': lambda _, batch: batch, 'several': True}
  return ({}, *arguments), options
