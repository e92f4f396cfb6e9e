"""The table of benchmarks.methods: means, deviations, intervals, paired differences."""

import operator
import pathlib
import statistics
from collections.abc import Mapping, Sequence

import numpy as np

from harma_jax.evaluation.bootstrap import mean_intervals, recall_differences
from harma_jax.evaluation.recall import RECALLS, Ranks, recall_of_ranks
from harma_jax.evaluation.seed_test import seed_test

RANKS_FILE = 'ranks.npz'
REFERENCES = ('zero_shot', 'full', 'harma')


def summaries(runs: Sequence[dict], *, folder: pathlib.Path) -> dict[str, dict]:
  """A summary of each method all of whose ranks are still in `folder`."""
  of_method, ranks = {}, {}
  for row in sorted(runs, key=operator.itemgetter('seed')):
    of_method.setdefault(row['method'], []).append(row)
  for method, rows in of_method.items():
    files = [folder / row['run'] / RANKS_FILE for row in rows]
    if all(file.is_file() for file in files):
      ranks[method] = {
        row['seed']: dict(np.load(file)) for row, file in zip(rows, files, strict=True)
      }
  return {
    method: summary(of_method[method], ranks[method])
    | {
      f'less_{name}': paired(ranks[name], ranks[method])
      for name in REFERENCES
      if name in ranks and name != method
    }
    for method in ranks
  }


def summary(rows: Sequence[dict], ranks: Mapping[int, Ranks]) -> dict:
  """Mean, deviation over seeds and intervals over queries of a method's recalls."""
  recalls = {name: [row['recall'][name] for row in rows] for name in RECALLS}
  seconds = [row['seconds'] for row in rows if row['seconds']]
  runs = list(ranks.values())
  return {
    'trainable': rows[0]['trainable'],
    'learning_rate': rows[0]['learning_rate'],
    'seeds': list(ranks),
    'seconds': statistics.mean(seconds) if seconds else 0.0,
    'mean': {name: statistics.mean(values) for name, values in recalls.items()},
    'deviation': {
      name: statistics.stdev(values) if len(values) > 1 else None
      for name, values in recalls.items()
    },
    'interval': mean_intervals(runs, runs[0]['caption_image']),
  }


def paired(first: Mapping[int, Ranks], second: Mapping[int, Ranks]) -> dict | None:
  """Mean recall of the second method less the first's, over the seeds both have.

  Returns:
    The row of `recall_differences`, with `seeds` and the `over_seeds` of `seed_test`;
    None where no seed is common.
  """
  seeds = [seed for seed in first if seed in second]
  if not seeds:
    return None
  sides = [[side[seed] for seed in seeds] for side in (first, second)]
  rows = recall_differences(*sides, sides[0][0]['caption_image'])
  row = rows['mean_recall'] | {'seeds': seeds}
  if len(seeds) > 1:
    means = [[recall_of_ranks(ranks)['mean_recall'] for ranks in s] for s in sides]
    row['over_seeds'] = seed_test(*means)
  return row


def markdown(results: Mapping) -> str:
  """The table of all methods that have a summary, best mean recall first."""
  methods = results['methods']
  heads = ['method', 'trained', 'rate', 'seeds', 's', *RECALLS[:-1], 'mR', 'sd', '95 %']
  heads += [f'less {name}' for name in REFERENCES]
  lines = [heads, ['---', *['---:'] * (len(heads) - 1)]]
  order = sorted(methods, key=lambda name: -methods[name]['mean']['mean_recall'])
  lines += [cells(name, methods[name]) for name in order]
  table = '\n'.join(f'| {" | ".join(line)} |' for line in lines)
  return '\n'.join([table, '', NOTE, '', *corrected(methods)]) + '\n'


NOTE = """\
Means over the seeds, in %; `s` is the training time of a run in seconds, without
compilation and evaluation. `sd`, of mR, is over seeds. Brackets are 95 % intervals over
queries, those of differences paired. `*`: the interval excludes 0; `**`: so does that
of Student's paired t-test over the seeds. These are not corrected for how many methods
are compared; what follows is."""


def corrected(methods: Mapping[str, Mapping]) -> list[str]:
  """Lines on which methods still differ from each reference, by Holm's correction."""
  lines = ["With Holm's correction, at 5 %, mean recall differs", '']
  for reference in REFERENCES:
    rows = {name: row.get(f'less_{reference}') for name, row in methods.items()}
    rows = {name: row for name, row in rows.items() if row}
    over_seeds = {name: row.get('over_seeds') for name, row in rows.items()}
    for over, tests in {'queries': rows, 'seeds': over_seeds}.items():
      names = ', '.join(f'`{name}`' for name in significant(tests)) or 'none'
      lines.append(f'- from `{reference}`, over {over}, of {len(rows)}: {names}')
  return lines


def significant(tests: Mapping[str, Mapping | None]) -> list[str]:
  """The names whose `p_value` is at most 0.05 after `holm`; None is no finding."""
  p_values = {name: (row or {}).get('p_value') for name, row in tests.items()}
  adjusted = holm({name: 1.0 if p is None else p for name, p in p_values.items()})
  return [name for name, p in adjusted.items() if p <= 0.05]


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
  """p-values adjusted for their number (Holm 1979), in the order of their sizes."""
  adjusted, least = {}, 0.0
  for rank, name in enumerate(sorted(p_values, key=p_values.get)):
    least = max(least, min(1.0, (len(p_values) - rank) * p_values[name]))
    adjusted[name] = least
  return adjusted


def cells(name: str, row: Mapping) -> list[str]:
  """The line of a method."""
  deviation = row['deviation']['mean_recall']
  low, high = row['interval']['mean_recall']
  return [
    f'`{name}`',
    f'{row["trainable"]:,}',
    f'{row["learning_rate"]:g}' if row['trainable'] else '',
    ', '.join(map(str, row['seeds'])),
    f'{row["seconds"]:.0f}',
    *(f'{row["mean"][recall]:.1f}' for recall in RECALLS[:-1]),
    f'{row["mean"]["mean_recall"]:.2f}',
    '' if deviation is None else f'{deviation:.2f}',
    f'[{low:.2f}, {high:.2f}]',
    *(difference(row.get(f'less_{reference}')) for reference in REFERENCES),
  ]


def difference(row: Mapping | None) -> str:
  """A paired difference, its interval, and stars where it is significant."""
  if row is None:
    return ''
  over_seeds = row.get('over_seeds') or {'low': None}
  excludes = [excludes_zero(row), excludes_zero(over_seeds)]
  stars = '*' * (excludes[0] + all(excludes))
  return f'{row["difference"]:+.2f} [{row["low"]:+.2f}, {row["high"]:+.2f}]{stars}'


def excludes_zero(interval: Mapping) -> bool:
  """Whether an interval that is there lies on one side of 0."""
  return interval['low'] is not None and interval['low'] * interval['high'] > 0
