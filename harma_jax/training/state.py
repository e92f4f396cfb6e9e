"""The state that a run goes on from, and the compiled step that takes it on."""

import json
from collections.abc import Callable

import jax
from absl import logging
from jax.sharding import Mesh

from harma_jax.building.step import Trainer
from harma_jax.devices.mesh import tree_shardings
from harma_jax.rundir.checkpoint import Checkpoints
from harma_jax.rundir.workdir import PROVENANCE_FILE, replace_text
from harma_jax.stepping.step import TrainState, cast_frozen, compile_step, place_state
from harma_jax.stepping.stepper import Step, make_stepper
from harma_jax.training.data import RunData
from harma_jax.training.plan import Plan

LARGE = 2**30  # bytes of a vocabulary that trains, from which on it is said


def start_state(
  trainer: Trainer,
  *,
  checkpoints: Checkpoints,
  starting_params: Callable[[], tuple[dict, dict]],
  n_captions: int,
  total_steps: int,
  mesh: Mesh,
) -> TrainState:
  """The state of the latest checkpoint; where none is, that before the first step.

  Args:
    trainer: of the run.
    checkpoints: of the run so far.
    starting_params: makes or reads the weights and says where they came from; called
      only where nothing is saved.
    n_captions: of the training split.
    total_steps: of the run.
    mesh: over which the state is laid out.

  Raises:
    UserError: weights that cannot be read, or that do not fit.
  """
  latest = checkpoints.latest_step()
  if latest is None:
    state, record = _fresh(trainer, starting_params, n_captions=n_captions, mesh=mesh)
    if jax.process_index() == 0:
      text = json.dumps(record, indent=2) + '\n'
      replace_text(checkpoints.workdir / PROVENANCE_FILE, text)
    checkpoints.save_frozen(state.frozen)  # as they came, for exports
    state = cast_frozen(state, trainer.frozen_dtype)
  else:
    shapes = trainer.shapes_of(n_captions=n_captions)
    state = checkpoints.restore(latest, _laid_out(shapes, mesh=mesh))
    logging.info('resuming after step %d of %d', latest, total_steps)
  if total_steps:
    say_vocabulary(state.trainable)
  return state


def say_vocabulary(trainable: dict) -> None:
  """Says what a large table of words takes that trains, of arrays or of shapes.

  In f32: it, its gradient, and Adam's two moments.
  """
  table = trainable.get('text', {}).get('token_embedding')
  if table is None or (total := 4 * table.size * 4) < LARGE:
    return
  logging.info(
    'optimizer.train=full trains the vocabulary too: %s words, %.1f GB in all with '
    'gradient and optimizer; --config.mesh.fsdp=N cuts it over N devices',
    *(f'{table.shape[0]:,}', total / 1e9),
  )


def _fresh(
  trainer: Trainer, starting_params: Callable, *, n_captions: int, mesh: Mesh
) -> tuple[TrainState, dict]:
  """The state before the first step, in the dtypes of its weights, and their origin."""
  params, record = starting_params()
  return place_state(trainer.state_of(params, n_captions=n_captions), mesh=mesh), record


def _laid_out(shapes: TrainState, *, mesh: Mesh) -> TrainState:
  return jax.tree.map(
    lambda leaf, sharding: jax.ShapeDtypeStruct(
      leaf.shape, leaf.dtype, sharding=sharding
    ),
    shapes,
    tree_shardings(shapes, mesh=mesh),
  )


def stepper_of(
  trainer: Trainer, state: TrainState, *, data: RunData, plan: Plan, mesh: Mesh
) -> Callable[..., Step]:
  """`step_for(state, *arguments, length=)` of a run; see `make_stepper`."""
  step = compile_step(
    trainer.step, state, mesh=mesh, inputs=trainer.inputs, several=plan.dispatch > 1
  )
  return make_stepper(step, tokens=data.tokens, images=data.images, mesh=mesh)
