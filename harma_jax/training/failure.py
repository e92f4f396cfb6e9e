"""What ends a run whose loss or gradient is not finite: saved, and said."""

import contextlib
from collections.abc import Callable, Iterator

import numpy as np
from jax.sharding import Mesh

from harma_jax.building.step import Trainer
from harma_jax.devices.mesh import place_batch, place_everywhere
from harma_jax.errors import UserError
from harma_jax.model.clip import Clip
from harma_jax.rundir.folder import RunFolder
from harma_jax.stepping.nonfinite import describe_samples, make_finite_samples
from harma_jax.stepping.step import TrainState
from harma_jax.training.data import RunData
from harma_jax.training.plan import Plan


def fail_if_halted(
  state: TrainState,
  *,
  unread: dict,
  plan: Plan,
  folder: RunFolder,
  describe: Callable[[dict, int], str],
) -> None:
  """Saves the state that a step failed on, and says which; waits for the device.

  Args:
    state: after the last step that was asked for.
    unread: loss and gradient norm of the steps since this was called last, of those
      taken at once by the number of the last; emptied.
    plan: of the run.
    folder: of the run.
    describe: the samples of a step, from the parameters before it and its number.

  Raises:
    UserError: a step has failed; names its number, epoch and samples.
  """
  step = int(state.step)
  if step >= 0:
    unread.clear()
    return
  step = ~step
  if step != folder.checkpoints.latest_step():
    folder.checkpoints.save(step, state.replace(step=~state.step), metrics={})
  found = ', '.join(
    f'{name.replace("_", " ")} {np.asarray(value).item():g}'
    for name, value in unread[min(last for last in unread if last > step)].items()
  )
  raise UserError(
    f'step {step + 1} of {plan.total}, in epoch {step // plan.per_epoch + 1}: '
    f'expected a loss and a gradient that are finite; found {found}; '
    f'{describe(state.params, step)}. The state before this step is '
    f'saved in {folder.path}. Look at these samples, or start anew with a lower '
    '--config.optimizer.learning_rate; with --config.train.on_nonfinite=skip the run '
    'goes on without such steps.'
  )


def make_describe(
  *,
  batches: Callable[..., Iterator[tuple[dict, int]]],
  data: RunData,
  trainer: Trainer,
  model: Clip,
  mesh: Mesh,
) -> Callable[[dict, int], str]:
  """Builds `describe(params, step)`, which names the samples of a step.

  Those whose embeddings by `params`, the weights before it, are not finite.

  Args:
    batches: `(first_step=, last_step=)`, training batches of the run.
    data: of the run.
    trainer: whose step it is.
    model: of the parameters.
    mesh: of all devices.
  """

  def describe(params, step):
    with contextlib.closing(batches(first_step=step, last_step=step + 1)) as found:
      batch, length = next(found)
    cut = place_everywhere({'tokens': data.tokens[:, :length]}, mesh=mesh)
    finite_samples = make_finite_samples(
      model, trainer.inputs, mesh=mesh, over_rows=trainer.over_rows
    )
    rows = finite_samples(params, data.images | cut, place_batch(batch, mesh=mesh))
    return describe_samples(data.table, *map(np.asarray, rows))

  return describe
