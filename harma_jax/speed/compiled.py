"""The step of a config, compiled for random weights and pairs."""

import dataclasses
import time
from collections.abc import Callable

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from harma_jax.building.model import build_model, frozen_dtype, with_fastest_attention
from harma_jax.building.step import build_optimizer, build_state, build_step
from harma_jax.building.text import context_length
from harma_jax.devices.mesh import make_mesh
from harma_jax.model.clip import Clip
from harma_jax.speed.batch import build_random_batch
from harma_jax.stepping.step import TrainState, cast_frozen, compile_step, place_state
from harma_jax.stepping.stepper import place_group

TOTAL_STEPS = 1000  # of the schedule


@dataclasses.dataclass(frozen=True, kw_only=True)
class CompiledStep:
  """A compiled step and what it is run on.

  Attributes:
    mesh: of all devices.
    state: before the first step, on the devices.
    arguments: what the step takes beside it, on the devices.
    pure_step: the step of a single batch, not compiled.
    step: the compiled one, of several batches where `train.steps_per_dispatch` says so.
    compile_seconds: what compiling took.
  """

  mesh: Mesh
  state: TrainState
  arguments: tuple
  pure_step: Callable
  step: jax.stages.Compiled
  compile_seconds: float


def compile_random(config: ConfigDict, *, n_captions: int) -> CompiledStep:
  """Compiles the step; `n_captions` are those of the training split."""
  model = with_fastest_attention(config, build_model(config))
  mesh = make_mesh(fsdp=config.mesh.fsdp)
  optimizer, schedule = build_optimizer(config, total_steps=TOTAL_STEPS)
  step = build_step(config, model, optimizer, schedule, total_steps=TOTAL_STEPS)
  params = random_params(model, seed=config.seed)
  state = build_state(config, params, optimizer, n_captions=n_captions)
  state = cast_frozen(place_state(state, mesh=mesh), frozen_dtype(config))
  arguments, options = _random_arguments(config, model, mesh=mesh)
  start = time.perf_counter()
  jitted = compile_step(step, state, mesh=mesh, **options)
  compiled = jitted.lower(state, *arguments).compile()
  seconds = time.perf_counter() - start
  return CompiledStep(
    mesh=mesh,
    state=state,
    arguments=arguments,
    pure_step=step,
    step=compiled,
    compile_seconds=seconds,
  )


def random_params(model: Clip, *, seed: int) -> dict:
  """All parameters, as they are drawn without weights."""
  return jax.jit(model.init)(jax.random.key(seed))


def _random_arguments(
  config: ConfigDict, model: Clip, *, mesh: Mesh
) -> tuple[tuple, dict]:
  """What the step takes beside its state, on the devices; options of `compile_step`."""
  batch, size = build_random_batch(config, model), config.train.steps_per_dispatch
  length = context_length(config, model)
  arguments, _ = place_group([(batch, length)] * size, size=size, mesh=mesh)
  if size == 1:
    return arguments, {}
  options = {'inputs': lambda _, batch: batch, 'several': True}
  return ({}, *arguments), options
