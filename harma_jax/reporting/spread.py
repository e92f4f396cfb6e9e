"""Means and deviations of recall over the seeds of a method."""

from collections.abc import Sequence

import numpy as np

from harma_jax.evaluation.recall import Recall


def summarize(results: Sequence[dict]) -> dict[str, dict[str, dict[str, Recall]]]:
  """Means and deviations over runs, by split and row.

  Args:
    results: `results.json` of each run.

  Returns:
    `mean` and, of two runs or more, `sd` (of a sample: over n - 1) of the recalls of
    `chance`, `ceiling`, `step 0`, `selected` and `last`; a row that some run has not
    measured, as the last step on test, is left out.
  """
  summary = {}
  for split in results[0]['splits']:
    rows = [_rows_of(result, split) for result in results]
    names = [name for name in rows[0] if all(name in row for row in rows)]
    summary[split] = {name: _spread([row[name] for row in rows]) for name in names}
  return summary


def _rows_of(result: dict, split: str) -> dict[str, Recall]:
  """A run's recalls of a split under names that do not depend on its steps."""
  measured = result['splits'][split]
  by_step = {name.partition(',')[0]: recall for name, recall in measured.items()}
  names = {name: name for name in ('chance', 'ceiling', 'step 0')}
  names |= {
    'selected': f'step {result["best_step"]}',
    'last': f'step {result["steps"]}',
  }
  return {name: by_step[step] for name, step in names.items() if step in by_step}


def _spread(recalls: Sequence[Recall]) -> dict[str, Recall]:
  # Runs of an earlier version have recorded fewer.
  names = [name for name in recalls[0] if all(name in recall for recall in recalls)]
  values = {name: [recall[name] for recall in recalls] for name in names}
  spread = {'mean': {name: float(np.mean(v)) for name, v in values.items()}}
  if len(recalls) > 1:
    spread['sd'] = {name: float(np.std(v, ddof=1)) for name, v in values.items()}
  return spread
