"""The compiled step beside what stays on the devices: tokens and, maybe, images."""

import dataclasses
import functools
import time
from collections.abc import Callable, Sequence

import jax
import numpy as np
from absl import logging
from jax.sharding import Mesh

from harma_jax.devices.mesh import place_batch, place_everywhere
from harma_jax.stepping.step import TrainState


@dataclasses.dataclass(frozen=True, kw_only=True)
class Step:
  """`(state, *arguments) -> (state, metrics)`, compiled; see `place_group`.

  Attributes:
    program: takes what is resident between state and batch.
    resident: stays on the devices.
    compile_seconds: what the compilation took.
  """

  program: jax.stages.Compiled
  resident: dict
  compile_seconds: float

  def __call__(self, state: TrainState, *arguments) -> tuple[TrainState, dict]:
    return self.program(state, self.resident, *arguments)


def make_stepper(
  step: Callable, *, tokens: np.ndarray, images: dict[str, jax.Array], mesh: Mesh
) -> Callable[..., Step]:
  """Builds `step_for(state, *arguments, length=, wait=)`, the step for such batches.

  It compiles once for every length of captions that comes. `wait(act)` is to return
  what the compilation, `act()`, does; where it returns None, so does `step_for`.

  Args:
    step: of `compile_step` with inputs.
    tokens: i32[n_captions, L], of all training captions.
    images: all training images on the devices (see `make_inputs`), or nothing.
    mesh: of all devices.
  """
  known = {}

  def step_for(state, *arguments, length, wait=at_once):
    if length not in known:
      cut = place_everywhere({'tokens': tokens[:, :length]}, mesh=mesh)
      act = functools.partial(_compiled, step, state, images | cut, arguments)
      known[length] = wait(act)
    return known[length]

  return step_for


def at_once(act: Callable):
  """`act()`."""
  return act()


def place_group(
  group: Sequence[tuple[dict, int]], *, size: int, mesh: Mesh
) -> tuple[tuple, int]:
  """The arguments of a step for a group of batches, and the length of their captions.

  Args:
    group: batches with the lengths of their captions, 1 to `size` of them.
    size: how many batches the step takes at most.
    mesh: of all devices.
  """
  batches, lengths = zip(*group, strict=True)
  if size == 1:
    return (place_batch(batches[0], mesh=mesh),), lengths[0]
  filled = *batches, *[batches[-1]] * (size - len(batches))
  stacked = jax.tree.map(lambda *rows: np.stack(rows), *filled)
  placed = place_batch(stacked, mesh=mesh, axis=1)
  return (placed, np.int32(len(batches))), max(lengths)


def _compiled(
  step: Callable, state: TrainState, resident: dict, arguments: tuple
) -> Step:
  start = time.monotonic()
  program = step.lower(state, resident, *arguments).compile()
  seconds = time.monotonic() - start
  logging.info(
    'compiled the step for captions of %d tokens in %.1f s',
    *(resident['tokens'].shape[1], seconds),
  )
  return Step(program=program, resident=resident, compile_seconds=seconds)
