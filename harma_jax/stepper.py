"""The compiled step beside what stays on the devices: tokens and, maybe, images."""

import dataclasses
import time
from collections.abc import Callable

import jax
import numpy as np
from absl import logging
from jax.sharding import Mesh

from harma_jax.mesh import place_everywhere
from harma_jax.step import TrainState


@dataclasses.dataclass(frozen=True, kw_only=True)
class Step:
  """`(state, batch) -> (state, metrics)`, compiled.

  Attributes:
    program: takes what is resident between state and batch.
    resident: stays on the devices.
    compile_seconds: what the compilation took.
  """

  program: jax.stages.Compiled
  resident: dict
  compile_seconds: float

  def __call__(self, state: TrainState, batch: dict) -> tuple[TrainState, dict]:
    return self.program(state, self.resident, batch)


def make_stepper(
  step: Callable, *, tokens: np.ndarray, images: dict[str, jax.Array], mesh: Mesh
) -> Callable[[TrainState, dict, int], Step]:
  """Builds `step_for(state, batch, length)`, the step for a batch like this one.

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
  program = step.lower(state, resident, batch).compile()
  seconds = time.monotonic() - start
  logging.info(
    'compiled the step for captions of %d tokens in %.1f s',
    *(resident['tokens'].shape[1], seconds),
  )
  return Step(program=program, resident=resident, compile_seconds=seconds)
