"""What a run measures before a step, and once at its end."""

import pathlib
from collections.abc import Callable, Mapping

import jax
import numpy as np

from harma_jax.data.annotations import CaptionTable
from harma_jax.devices.processes import of_first
from harma_jax.evaluation.duplicates import ceiling_row
from harma_jax.evaluation.evaluator import EvaluationSplit, Evaluator
from harma_jax.evaluation.recall import Recall, chance_recall
from harma_jax.evaluation.ties import EXPECTED, recorded_of
from harma_jax.reporting.tables import print_table, with_ties
from harma_jax.rundir.checkpoint import SELECTION, abstract_of
from harma_jax.rundir.folder import RunFolder
from harma_jax.rundir.results import write_results
from harma_jax.rundir.workdir import (
  CONFLICTS_FILE,
  append_rows,
)
from harma_jax.stepping.step import TrainState

STEP_0_SELECTED = 'step 0, selected'
NOTED = 200  # of the most conflicting captions, at each evaluation


def make_measure(
  *,
  evaluate: Evaluator,
  splits: Mapping[str, EvaluationSplit],
  selected_by: str,
  selector: str,
  table: CaptionTable,
  folder: RunFolder,
) -> Callable[..., dict | None]:
  """Builds `measure(state, step, wait=)`, what is done wherever an evaluation is due.

  It measures the selecting split, before the first step the others too, notes the
  captions that conflict most, and returns the recalls of the selecting split, one of
  which, `selector`, is what selects; nothing where there is none. `wait(act)` returns
  what `act()` does; where it returns None nothing is noted, and None is returned.
  """
  selection = splits.get(selected_by)
  others = [split for split in splits.values() if split is not selection]

  def measure(state, step, *, wait):
    due = others if step == 0 else []
    due = due if selection is None else [*due, selection]
    recalls = wait(lambda: [evaluate(state.params, split) for split in due])
    if recalls is None:
      return None
    for split, recall in zip(due, recalls, strict=True):
      folder.log.evaluation(step, split=split.name, recall=recall)
    note_conflicts(state, step=step, table=table, workdir=folder.path)
    return {} if selection is None else recalls[-1] | {SELECTION: recalls[-1][selector]}

  return measure


def note_conflicts(
  state: TrainState, *, step: int, table: CaptionTable, workdir: pathlib.Path
) -> None:
  """Appends the most conflicting captions so far to `conflicts.jsonl`."""
  if not state.curriculum or jax.process_index():
    return
  account = {name: np.asarray(values) for name, values in state.curriculum.items()}
  seen = account['seen']
  mean = np.where(seen > 0, account['cosine_sum'] / np.maximum(seen, 1), np.inf)
  worst = np.argsort(mean, kind='stable')[: min(NOTED, int((seen > 0).sum()))]
  noted = [
    {
      'step': step,
      'row': int(row),
      'image': str(table.image_path(table.caption_image[row])),
      'caption': table.captions[row],
      'mean_cosine': float(mean[row]),
      'seen': int(seen[row]),
      'dropped': round(float(account['dropped'][row]), 2),
    }
    for row in worst
  ]
  append_rows(workdir / CONFLICTS_FILE, noted)


def measure_selected(
  state: TrainState,
  *,
  evaluate: Evaluator,
  splits: Mapping[str, EvaluationSplit],
  folder: RunFolder,
) -> int:
  """Measures the splits that did not select, once, with the selected step's weights.

  Returns:
    The selected step.
  """
  best = folder.checkpoints.best_step()
  state = folder.checkpoints.restore_params(best, abstract_of(state))
  measured = {(row['step'], row['split']) for row in folder.log.evaluations()}
  # Others may see the first process's file late.
  due = of_first(
    np.array([(best, split.name) not in measured for split in splits.values()])
  )
  for split, is_due in zip(splits.values(), due, strict=True):
    if is_due:
      recall = evaluate(state.params, split)
      folder.log.evaluation(best, split=split.name, recall=recall)
  return best


def report_results(
  *,
  best: int,
  total_steps: int,
  seed: int,
  splits: Mapping[str, EvaluationSplit],
  selected_by: str,
  folder: RunFolder,
  stage: str = '',
) -> dict:
  """Prints a table for each split, of what `stage` says, and writes `results.json`.

  Returns:
    What it wrote.
  """
  rows = folder.log.evaluations()
  selection = splits.get(selected_by)
  selected_on = selection.name if selection else 'nothing: the last step'
  results = {
    'seed': seed,
    'selected_on': selected_on,
    'best_step': best,
    'steps': total_steps,
    'counts': {
      name: {'images': len(split.images), 'captions': len(split.tokens)}
      for name, split in splits.items()
    },
    'splits': {
      name: _results(split, rows, best=best, total=total_steps)
      for name, split in splits.items()
    },
  }
  write_results(folder.path, results)
  prefix = f'{stage}; ' if stage else ''
  for name, measured in results['splits'].items():
    split = splits[name]
    rows = {
      STEP_0_SELECTED if best == 0 and row == 'step 0' else row: recall
      for row, recall in measured.items()
    }
    print_table(
      f'{prefix}{split.name}: recall in % of {len(split.images):,} images and '
      f'{len(split.tokens):,} captions, seed {seed}, weights selected on '
      f'{selected_on}, ties against the model',
      with_ties(rows, kinds=[EXPECTED]),
    )
  if best == 0 and total_steps:
    print(
      f'No step was better on {selected_on} than the weights before training: these '
      'are selected.'
    )
  return results


def _results(
  split: EvaluationSplit, rows: list[dict], *, best: int, total: int
) -> dict[str, Recall]:
  recalls = {row['step']: row for row in rows if row['split'] == split.name}
  named = {
    'chance': chance_recall(split.caption_image, len(split.images)),
    'ceiling': ceiling_row(split.groups, split.caption_image),
  }
  steps = {'step 0': 0}
  for step, what in ((best, 'selected'), (total, 'last')):
    if step not in steps.values():
      steps[f'step {step}, {what}'] = step
  for name, step in steps.items():
    if step in recalls:
      named[name] = recorded_of(recalls[step])
  return named
