"""Training steps: on one batch that stays on the devices, and on those of the host."""

import contextlib
import itertools
from collections.abc import Callable

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from harma_jax.building.data import build_inputs, place_images
from harma_jax.building.model import build_model
from harma_jax.speed.batch import pairs_of
from harma_jax.speed.compiled import compile_random
from harma_jax.speed.figures import step_figures
from harma_jax.speed.gauges import steps_taken, time_steps, waiting_share
from harma_jax.speed.host import host_batches, train_data
from harma_jax.stepping.step import TrainState, compile_step
from harma_jax.stepping.stepper import make_stepper, place_group


def measure_step(config: ConfigDict, *, steps: int, warmup: int) -> dict:
  """The compiled step on one batch of random pairs that stays on the device."""
  compiled = compile_random(config, n_captions=pairs_of(config))
  resident = itertools.repeat(compiled.arguments)
  _, seconds = time_steps(
    compiled.step, compiled.state, resident, warmup=warmup, steps=steps
  )
  return step_figures(config, compiled, seconds=seconds)


def measure_train(config: ConfigDict, *, steps: int, warmup: int) -> dict:
  """Augmenting steps on training batches, beside plain ones on one that is there."""
  pixels, cache, tokens = train_data(config)
  compiled = compile_random(config, n_captions=pixels.table.n_captions)
  mesh, timing = compiled.mesh, {'warmup': warmup, 'steps': steps}
  resident = itertools.repeat(compiled.arguments)
  state, alone = time_steps(compiled.step, compiled.state, resident, **timing)
  take_group = _build_group_step(
    config,
    compiled.pure_step,
    state,
    tokens=tokens,
    images=place_images(config, pixels, mesh=mesh) if cache == 'device' else {},
    mesh=mesh,
  )
  size = config.train.steps_per_dispatch
  count = steps_taken(**timing) * size
  found = host_batches(config, pixels, cache, tokens, count=count)
  with contextlib.closing(found) as batches:
    groups = iter(lambda: tuple(itertools.islice(batches, size)), ())
    _, seconds = time_steps(take_group, state, groups, **timing)
  return {
    **step_figures(config, compiled, seconds=seconds),
    'cache': cache,
    'share_waiting_for_input': waiting_share(alone, seconds),
  }


def _build_group_step(
  config: ConfigDict,
  pure_step: Callable,
  state: TrainState,
  *,
  tokens: np.ndarray,
  images: dict[str, jax.Array],
  mesh: Mesh,
) -> Callable:
  """`take(state, *batches)`: the steps of one program, as the loop of a run takes them.

  Args:
    config: of the run.
    pure_step: of a single batch.
    state: that it starts from, for its shapes.
    tokens: see `make_stepper`.
    images: see `make_stepper`.
    mesh: of all devices.
  """
  side, size = build_model(config).size.image_size, config.train.steps_per_dispatch
  inputs = build_inputs(config, side=side, mesh=mesh)
  step = compile_step(pure_step, state, mesh=mesh, inputs=inputs, several=size > 1)
  step_for = make_stepper(step, tokens=tokens, images=images, mesh=mesh)

  def take(state, *group):
    arguments, length = place_group(group, size=size, mesh=mesh)
    return step_for(state, *arguments, length=length)(state, *arguments)

  return take
