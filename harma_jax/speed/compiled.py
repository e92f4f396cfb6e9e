"""The step of a run, compiled for random weights and pairs."""

import dataclasses
import time

import jax

from harma_jax.building.recipe import Recipe
from harma_jax.building.step import Trainer
from harma_jax.model.clip import Clip, init_params
from harma_jax.speed.batch import batch_of
from harma_jax.stepping.step import TrainState, cast_frozen, compile_step, place_state
from harma_jax.stepping.stepper import place_group

TOTAL_STEPS = 1000  # of the schedule


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
  params = random_params(recipe.model, seed=recipe.seed)
  state = trainer.state_of(params, n_captions=n_captions)
  state = cast_frozen(place_state(state, mesh=recipe.mesh), trainer.frozen_dtype)
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


def random_params(model: Clip, *, seed: int) -> dict:
  """All parameters, as they are drawn without weights."""
  return init_params(model, jax.random.key(seed))


def _random_arguments(recipe: Recipe) -> tuple[tuple, dict]:
  """What the step takes beside its state, on the devices; options of `compile_step`."""
  batch, size = batch_of(recipe), recipe.pace.dispatch
  group = [(batch, recipe.data.context_length)] * size
  arguments, _ = place_group(group, size=size, mesh=recipe.mesh)
  if size == 1:
    return arguments, {}
  options = {'inputs': lambda _, batch: batch, 'several': True}
  return ({}, *arguments), options
