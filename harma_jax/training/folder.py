"""The folder of a stage, opened for its run."""

import pathlib
from contextlib import AbstractContextManager

from harma_jax.building.recipe import Recipe
from harma_jax.rundir.folder import RunFolder, opened
from harma_jax.training.data import RunData
from harma_jax.training.plan import Plan


def open_folder(
  recipe: Recipe, *, workdir: pathlib.Path, data: RunData, plan: Plan
) -> AbstractContextManager[RunFolder]:
  """Takes `workdir` for a run; see `opened`."""
  pace = recipe.pace
  return opened(
    workdir,
    recipe.config,
    data=data.fingerprints,
    tokenizer=data.tokenizer,
    keep=pace.keep,
    keep_every=pace.keep_every,
    total_steps=plan.total,
    steps_per_epoch=plan.per_epoch,
    pairs_per_step=pace.pairs,
    log_every=plan.log_every,
    evaluate_every=plan.evaluate_every,
  )
