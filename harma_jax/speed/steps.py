"""Training steps: on one batch that stays on the devices, and on those of the host."""

import contextlib
import itertools
import time
from collections.abc import Callable

import jax
import numpy as np
from jax.sharding import Mesh

from harma_jax.building.recipe import Recipe
from harma_jax.building.step import Trainer
from harma_jax.speed.compiled import compile_random
from harma_jax.speed.figures import step_figures
from harma_jax.speed.gauges import steps_taken, time_steps, waiting_share
from harma_jax.speed.host import host_batches, train_data
from harma_jax.stepping.step import TrainState, compile_step
from harma_jax.stepping.stepper import make_stepper, place_group


def measure_step(recipe: Recipe, *, steps: int, warmup: int) -> dict:
  """The compiled step on one batch of random pairs that stays on the device.

  `processor_seconds` are this process's of a program, of all its threads; they differ
  less than times do where other programs use the same cores.
  """
  compiled = compile_random(recipe, n_captions=recipe.pace.pairs)
  resident = itertools.repeat(compiled.arguments)
  timing = {'warmup': warmup, 'steps': steps}
  before = time.process_time()
  _, seconds = time_steps(compiled.step, compiled.state, resident, **timing)
  processor = (time.process_time() - before) / steps_taken(**timing)
  return {
    **step_figures(recipe, compiled, seconds=seconds),
    'processor_seconds': processor,
  }


def measure_train(recipe: Recipe, *, steps: int, warmup: int) -> dict:
  """Augmenting steps on training batches, beside plain ones on one that is there."""
  pixels, cache, tokens = train_data(recipe.data)
  compiled = compile_random(recipe, n_captions=pixels.table.n_captions)
  timing, size = {'warmup': warmup, 'steps': steps}, recipe.pace.dispatch
  resident = itertools.repeat(compiled.arguments)
  state, alone = time_steps(compiled.step, compiled.state, resident, **timing)
  take_group = _group_step(
    compiled.trainer,
    state,
    tokens=tokens,
    images=recipe.data.place_images(pixels) if cache == 'device' else {},
    size=size,
    mesh=recipe.mesh,
  )
  count = steps_taken(**timing) * size
  found = host_batches(recipe.data, pixels, cache, tokens, count=count)
  with contextlib.closing(found) as batches:
    groups = iter(lambda: tuple(itertools.islice(batches, size)), ())
    _, seconds = time_steps(take_group, state, groups, **timing)
  return {
    **step_figures(recipe, compiled, seconds=seconds),
    'cache': cache,
    'share_waiting_for_input': waiting_share(alone, seconds),
  }


def _group_step(
  trainer: Trainer,
  state: TrainState,
  *,
  tokens: np.ndarray,
  images: dict[str, jax.Array],
  size: int,
  mesh: Mesh,
) -> Callable:
  """`take(state, *batches)`: the steps of one program, as the loop of a run takes them.

  Args:
    trainer: of the run.
    state: that it starts from, for its shapes.
    tokens: see `make_stepper`.
    images: see `make_stepper`.
    size: batches of a program.
    mesh: of all devices.
  """
  step = compile_step(
    trainer.step, state, mesh=mesh, inputs=trainer.inputs, several=size > 1
  )
  step_for = make_stepper(step, tokens=tokens, images=images, mesh=mesh)

  def take(state, *group):
    arguments, length = place_group(group, size=size, mesh=mesh)
    return step_for(state, *arguments, length=length)(state, *arguments)

  return take
