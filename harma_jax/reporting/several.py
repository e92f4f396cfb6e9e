"""The page of several runs: seeds of a method, or methods beside each other."""

from collections.abc import Mapping, Sequence

import numpy as np
from absl import logging

from harma_jax.errors import UserError
from harma_jax.evaluation.recall import RECALLS
from harma_jax.evaluation.ties import EXPECTED
from harma_jax.reporting.charts import Points
from harma_jax.reporting.curves import chart, points, steps_per_epoch
from harma_jax.reporting.methods import Method, Run, gain_of_method, read_methods
from harma_jax.reporting.overview import caution_section, in_short, limits
from harma_jax.reporting.page import (
  STYLE,
  escape,
  footer,
  page,
  paragraph,
  section,
  table,
)
from harma_jax.reporting.progress import show_progress
from harma_jax.reporting.published import own_row, published_part
from harma_jax.reporting.spread import summarize
from harma_jax.reporting.tables import header_of, with_ties
from harma_jax.rundir.workdir import read_fingerprints, without_paths

OF_DATA = ('chance', 'ceiling')  # rows that no method changes

Gains = Mapping[str, Mapping[str, Mapping]]  # role -> name of the method -> row


def report_several(folders: Sequence[str], *, data_root: str | None = None) -> str:
  """The page of several methods, or of one with several seeds.

  Gains are left out, with a warning, where data or starting weights are gone.

  Args:
    folders: of a run or of several seeds, one for each method.
    data_root: where the data set is now; default: where it was in training.

  Raises:
    UserError: as `read_methods`.
  """
  methods = read_methods(folders, data_root=data_root)
  gains = _gains(methods)
  title = f'Report of {", ".join(method.name for method in methods)}'
  body = ''.join(
    [
      f'<h1>{escape(title)}</h1>',
      caution_section(_notes(methods)),
      _methods_section(methods),
      _recalls_section(methods),
      _gains_section(methods, gains),
      _curves_section(methods),
    ]
  )
  return page(title, body + footer(body), style=STYLE.read_text())


def _gains(methods: Sequence[Method]) -> Gains:
  gains = {role: {} for role in _roles(methods)}
  parts = [(role, method) for role in gains for method in methods]
  for role, method in show_progress(parts, title='gains', total=len(parts)):
    try:
      gains[role][method.name] = gain_of_method(method, role)
    except UserError as error:
      logging.warning(
        'Left out of the report: the gain of %s on %s. %s', method.name, role, error
      )
  return gains


def _roles(methods: Sequence[Method]) -> list[str]:
  """The splits that all runs have measured."""
  splits = [run.record.results['splits'] for method in methods for run in method.runs]
  return [role for role in splits[0] if all(role in of_run for of_run in splits)]


def _notes(methods: Sequence[Method]) -> list[str]:
  """What limits the numbers, each sentence once, with the methods that it holds for."""
  notes = [
    f'{method.name}: one seed ({method.seeds[0]}), no spread is shown.'
    if len(method.seeds) == 1
    else f'{method.name}: means and deviations over the seeds '
    f'{", ".join(map(str, method.seeds))}.'
    for method in methods
  ]
  data = [read_fingerprints(run.folder) for method in methods for run in method.runs]
  if any(of_run != data[0] for of_run in data):
    notes.append(
      'NOT ALL RUNS HAVE THE SAME DATA: their images or captions differ, and so do the '
      'queries that their recalls count.'
    )
  holding = {}
  for method in methods:
    for note in dict.fromkeys(note for run in method.runs for note in _limits(run)):
      holding.setdefault(note, []).append(method.name)
  return notes + [f'{", ".join(names)}: {note}' for note, names in holding.items()]


def _limits(run: Run) -> list[str]:
  record = run.record
  return limits(
    record.fields,
    provenance=record.provenance,
    results=record.results,
    splits=record.splits,
    skipped=max((row.get('skipped', 0) for row in record.rows), default=0),
  )


def _methods_section(methods: Sequence[Method]) -> str:
  """Each method in short, and the fields in which their configs differ."""
  short = [_in_short(method) for method in methods]
  names = [method.name for method in methods]
  parts = [table([(w, *(s[w] for s in short)) for w in short[0]], header=('', *names))]
  rows = differing_fields([method.fields for method in methods])
  if rows:
    parts.append(table(rows, header=('field that differs', *names)))
  return section('The methods' if len(methods) > 1 else 'The method', *parts)


def _in_short(method: Method) -> dict[str, str]:
  """As `in_short`, with the seeds and selected steps of all runs."""
  results = [run.record.results for run in method.runs]
  words = in_short(method.fields, results=results[0], counts={})
  steps = (f'{found["best_step"]:,} of {found["steps"]:,}' for found in results)
  return words | {
    'seed': ', '.join(map(str, method.seeds)),
    'step': f'{", ".join(steps)}, selected on {results[0]["selected_on"]}',
  }


def differing_fields(configs: Sequence[Mapping]) -> list[tuple[str, ...]]:
  """The fields in which some configs differ, each with its values as words.

  Args:
    configs: fields by dotted name; `none` stands for one that is not there.
  """
  plain = [without_paths(dict(fields)) for fields in configs]
  rows = [
    (name, *(str(fields.get(name, 'none')) for fields in plain))
    for name in dict.fromkeys(name for fields in plain for name in fields)
    if name != 'seed'
  ]
  return [row for row in rows if len(set(row[1:])) > 1]


def _recalls_section(methods: Sequence[Method]) -> str:
  """A table for each split, and published numbers where they compare."""
  spreads = {m.name: summarize([run.record.results for run in m.runs]) for m in methods}
  tables = [
    table(
      [
        (name, *(f'{recall[key]:.2f}' for key in RECALLS))
        for name, recall in _rows_of(role, spreads).items()
      ],
      header=('', *map(header_of, RECALLS)),
      caption=f'{role}: recall in %',
      numbers=True,
    )
    for role in _roles(methods)
  ]
  meaning = paragraph(
    'Mean: over the seeds of a method; sd: the standard deviation of a sample, over '
    'n - 1. Ties count against the model, but in rows that say otherwise.'
  )
  return section('Recall', *tables, meaning, _published(methods, spreads))


def _rows_of(role: str, spreads: Mapping[str, Mapping]) -> dict[str, Mapping]:
  """The rows of a split: what data alone decide, then each method's means and sds."""
  rows, *others = [splits[role] for splits in spreads.values()]
  shared = [
    name for name in OF_DATA if all(_agree(rows[name], of[name]) for of in others)
  ]
  found = with_ties({name: rows[name]['mean'] for name in shared}, kinds=[EXPECTED])
  for method, splits in spreads.items():
    for name, spread in splits[role].items():
      if name not in shared:
        label = f'{method}: {name}'
        found |= with_ties({f'{label}, mean': spread['mean']}, kinds=[EXPECTED])
        if any(spread.get('sd', {}).values()):
          found[f'{label}, sd'] = spread['sd']
  return found


def _agree(spread: Mapping, other: Mapping) -> bool:
  """Whether two means are the same but for the last bits, which sums leave."""
  recall = other['mean']
  return all(np.isclose(value, recall[key]) for key, value in spread['mean'].items())


def _published(methods: Sequence[Method], spreads: Mapping[str, Mapping]) -> str:
  """Published numbers, where all runs are on one data set and its whole test split."""
  runs = [run for method in methods for run in method.runs]
  names = {str(run.config.data.root).rstrip('/').rpartition('/')[2] for run in runs}
  sets = [run.record.results.get('counts', {}).get('test', {}) for run in runs]
  if len(names) > 1 or any(of_run != sets[0] for of_run in sets):
    return ''
  own = [
    own_row(f'{name}, selected, mean', splits['test']['selected']['mean'])
    for name, splits in spreads.items()
    if 'selected' in splits.get('test', {})
  ]
  return published_part(names.pop(), sets[0], own=own)


def _gains_section(methods: Sequence[Method], gains: Gains) -> str:
  """What training added on each split, with its intervals."""
  several = any(len(method.seeds) > 1 for method in methods)
  rows = [
    (f'{method}, {role}', *_cells(gain, several=several))
    for role, of_role in gains.items()
    for method, gain in of_role.items()
  ]
  title = 'Gain over step 0'
  if not rows:
    text = 'Left out: the data set or the starting weights could not be read.'
    return section(title, paragraph(text))
  header = ('mean recall', 'step 0', 'selected', 'gain', '95 % over queries')
  meaning = paragraph(
    'Computed anew from the saved weights, in the mean over seeds. Over queries: other '
    'images of this kind, with these trained models. Over seeds: other seeds on these '
    "very images, by Student's paired t-test."
  )
  header += ('95 % over seeds',) * several
  return section(title, table(rows, header=header, numbers=True), meaning)


def _cells(gain: Mapping, *, several: bool) -> list[str]:
  values = [f'{gain["first"]:.2f}', f'{gain["second"]:.2f}']
  values += [f'{gain["difference"]:+.2f}', f'{gain["low"]:+.2f} to {gain["high"]:+.2f}']
  if 'over_seeds' in gain:
    seeds = gain['over_seeds']
    is_spread = seeds['low'] is not None
    values.append(
      f'{seeds["low"]:+.2f} to {seeds["high"]:+.2f}' if is_spread else 'no spread'
    )
  elif several:
    values.append('')
  return values


def _curves_section(methods: Sequence[Method]) -> str:
  """Recall and loss of each seed; of several methods also their means."""
  lines = {method.name: _recall_lines(method) for method in methods}
  charts = []
  if len(methods) > 1:
    means = {name: mean_line(list(of.values())) for name, of in lines.items()}
    charts.append(chart(means, what='mean recall (mR) in %, mean', x_label='epoch'))
  for method in methods:
    losses = {
      f'seed {run.config.seed}': points(
        [row for row in run.record.rows if row['kind'] == 'train'], 'loss'
      )
      for run in method.runs
    }
    what = f'mean recall (mR) in %, {method.name}'
    charts.append(chart(lines[method.name], what=what, x_label='epoch'))
    charts.append(chart(losses, what=f'loss, {method.name}', x_label='epoch'))
  text = 'Recall is that of the split that selects the step.'
  grid = f'<div class="grid">{"".join(charts)}</div>'
  return section('Curves', paragraph(text), grid)


def _recall_lines(method: Method) -> dict[str, Points]:
  """(epoch, mean recall) of the selecting split, for each seed."""
  lines = {}
  for run in method.runs:
    record, epochs = run.record, steps_per_epoch(run.record.rows)
    rows = [
      row | {'epoch': row['step'] / epochs}
      for row in record.rows
      if row['kind'] == 'evaluation' and row['split'] == record.selecting
    ]
    lines[f'seed {run.config.seed}'] = points(rows, 'mean_recall')
  return lines


def mean_line(lines: Sequence[Points]) -> list[tuple[float, float]]:
  """The mean of lines at the places that all of them have."""
  values = [dict(line) for line in lines]
  places = [x for x in values[0] if all(x in line for line in values)]
  return [(x, float(np.mean([line[x] for line in values]))) for x in places]
