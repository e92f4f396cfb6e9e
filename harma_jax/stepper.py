"""The compiled step beside what stays on the devices: tokens and, maybe, images."""

import time
from collections.abc import Callable

import jax
import numpy as np
from absl import logging
from jax.sharding import Mesh

from harma_jax.mesh import place_everywhere
from harma_jax.step import TrainState

Step = Callable[[TrainState, dict], tuple[TrainState, dict]]


def make_stepper(
  step: Callable, *, tokens: np.ndarray, images: dict[str, jax.Array], mesh: Mesh
) -> Callable[[TrainState, dict, int], Step]:
  """Builds `step_for(state, batch, length) -> (state, batch) -> (state, metrics)`.

  It compiles once for every length of captions that comes.

  Args:
    step: of `compile_step` with inputs.
    tokens: i32[n_captions, L], of all training captions.
    images: all training images on the devices (see `make_inputs`), or nothing.
    mesh: of all devices.
  """
  known = {}

  def step_for(state, batch, length):
    if length not in known:
      cut = place_everywhere({'tokens': tokens[:, :length]}, mesh=mesh)
      known[length] = _compiled(step, state, images | cut, batch)
    return known[length]

  return step_for


def _compiled(step: Callable, state: TrainState, resident: dict, batch: dict) -> Step:
  start = time.monotonic()
  compiled = step.lower(state, resident, batch).compile()
  logging.info(
    'compiled the step for captions of %d tokens in %.1f s',
    *(resident['tokens'].shape[1], time.monotonic() - start),
  )
  return lambda state, batch: compiled(state, resident, batch)
