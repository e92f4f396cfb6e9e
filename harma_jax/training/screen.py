"""What a run says of itself at its start and at its end."""

import pathlib
import shlex
from typing import NamedTuple

import jax
from absl import logging

from harma_jax.building.recipe import Recipe
from harma_jax.devices.mesh import layout_of
from harma_jax.rundir.metrics import duration
from harma_jax.stepping.optim import count
from harma_jax.stepping.step import TrainState
from harma_jax.training.data import RunData
from harma_jax.training.plan import Plan


class Place(NamedTuple):
  """Where a stage stands among those of a run, counted from 1."""

  number: int = 1
  stages: int = 1

  def of(self, data: str) -> str:
    """The stage and its data, as `stage 1 of 2, pretraining on summer scenes`."""
    what = 'pretraining' if self.number < self.stages else 'training'
    stage = f'stage {self.number} of {self.stages}, ' if self.stages > 1 else ''
    return f'{stage}{what} on {data}'


def facts_of_run(
  recipe: Recipe, state: TrainState, *, data: RunData, plan: Plan
) -> dict[str, str]:
  """What a stage trains, on what, by what and how long; a line of words for each."""
  table, mesh, size = data.table, recipe.mesh, recipe.pace.batch_size
  counts = [f'train: {table.n_images:,} images, {table.n_captions:,} captions']
  for role, split in data.splits.items():
    n_images, n_captions = len(split.images), len(split.tokens)
    counts.append(f'{role}: {n_images:,} images, {n_captions:,} captions')
  return {
    'data': f'{"; ".join(counts)}; data.cache={data.cache}',
    'model': recipe.model_words,
    'parameters': (
      f'{count(state.trainable):,} trainable, {count(state.frozen):,} frozen'
    ),
    'batch': f'{size:,}, {size // mesh.size:,} a device',
    'steps': (
      f'{plan.per_epoch:,} an epoch, {plan.total:,} in all; evaluation every '
      f'{plan.evaluate_every:,}'
    ),
    'devices': f'{mesh.size} {jax.devices()[0].device_kind}, {layout_of(mesh)}',
  }


def say_start(
  recipe: Recipe,
  state: TrainState,
  *,
  place: Place,
  folder: pathlib.Path,
  data: RunData,
  plan: Plan,
) -> None:
  """Says what a stage is about to do."""
  logging.info('%s, in %s', place.of(recipe.data_words), folder)
  for name, fact in facts_of_run(recipe, state, data=data, plan=plan).items():
    logging.info('  %-11s %s', name, fact)


class Ended(NamedTuple):
  """The selected step of a stage, and how many it took."""

  best: int
  total: int


def say_end(folder: pathlib.Path, ended: Ended, *, seconds: float) -> None:
  """Says where a run lies, how long it took, and what one may want next."""
  logging.info(
    'done in %s: %s, best step %d of %d. Next:',
    *(duration(seconds), folder, *ended),
  )
  run = shlex.quote(str(folder))
  for words in (
    f'evaluate --workdir={run}',
    f'report --workdir={run}',
    f'search index --workdir={run} --images=PICTURES --out=INDEX',
  ):
    logging.info('  harma-jax %s', words)
