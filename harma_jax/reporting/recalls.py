"""Tables of recall of a run, those of others beside them."""

import re
from collections.abc import Mapping, Sequence

from harma_jax.evaluation.recall import RECALLS, Recall
from harma_jax.evaluation.ties import recorded_of
from harma_jax.reporting.page import paragraph, section, table
from harma_jax.reporting.published import own_row, published_part
from harma_jax.reporting.tables import header_of, with_ties


def recalls_section(
  splits: Mapping[str, Mapping[str, Recall]],
  *,
  counts: Mapping[str, str],
  data_name: str,
  test_set: Mapping[str, int],
) -> str:
  """The recalls of each split, and published ones of the same data set.

  Args:
    splits: split -> row (`chance`, `step 0`, ...) -> recalls in per cent.
    counts: split -> what it holds, in words; of some or none.
    data_name: the name of the data set's folder.
    test_set: its `images` and `captions`; empty where they are not known.
  """
  if not splits:
    return section('Recall', paragraph('The run has evaluated nothing yet.'))
  header = ('', *map(header_of, RECALLS))
  tables = [
    table(
      [
        (name, *(f'{recall[key]:.2f}' for key in RECALLS))
        for name, recall in with_ties(rows).items()
      ],
      header=header,
      caption=f'{split}: recall in %{counts.get(split, "")}',
      numbers=True,
    )
    for split, rows in splits.items()
  ]
  meaning = paragraph(
    'I2T @k: share of images with one of their captions among the k most similar; '
    'T2I @k: share of captions with their image among the first k; mR: the mean of '
    'these six. Ties count against the model, but in rows that say otherwise: at '
    'random is the mean over all orders of the ties. Ceiling: the most that is '
    'possible where identical captions cannot be told apart. Step 0 is the model '
    'before training: the starting weights with fresh adapters, where it has adapters.'
  )
  test = splits.get('test', {})
  name = next((name for name in test if name.endswith('selected')), 'step 0')
  published = published_part(
    data_name, test_set, own=[own_row(f'this run, {name}', test.get(name, {}))]
  )
  return section('Recall', *tables, meaning, published)


def splits_of(
  rows: Sequence[Mapping], *, by: str = 'mean_recall'
) -> dict[str, dict[str, Recall]]:
  """Of a run that has not ended: step 0, the best and the last step of each split.

  Args:
    rows: evaluations of `metrics.jsonl`, in their order.
    by: the recall that selects.
  """
  splits = {}
  for split in {row['split']: None for row in rows}:
    of_split = [row for row in rows if row['split'] == split]
    named = {'': of_split[0], ', best so far': best_of(of_split, by=by)}
    named |= {', last so far': of_split[-1]}
    steps = {row['step']: what for what, row in reversed(named.items())}
    splits[split] = {
      f'step {row["step"]}{steps[row["step"]]}': recorded_of(row)
      for row in of_split
      if row['step'] in steps
    }
  return splits


def best_of(rows: Sequence[Mapping], *, by: str = 'mean_recall') -> Mapping | None:
  """The evaluation that is highest in `by`, the first of equals; None of none."""
  return max(rows, key=lambda row: row[by], default=None)


def step_of(name: str) -> int | None:
  """The step of a row's name, as in `step 138, selected`; None for those of no step."""
  match = re.match(r'step (\d+)', name)
  return int(match[1]) if match else None
