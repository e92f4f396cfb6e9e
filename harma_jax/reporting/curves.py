"""What was logged while a run trained: curves, and the conflicts of gradients."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from harma_jax.evaluation.recall import RECALLS, Recall
from harma_jax.reporting.charts import LEFT, RIGHT, WIDTH, Points, heat_map, line_chart
from harma_jax.reporting.page import escape, figure, paragraph, section
from harma_jax.reporting.tables import header_of

MOST_POINTS = 400  # of a line
MOST_COLUMNS = 60  # of the strip of histograms

# Of a training row, what is no term of the loss.
_NOT_TERMS = (
  *('kind', 'step', 'epoch', 'loss', 'pairs_per_second'),
  *('gradient_norm', 'learning_rate', 'temperature', 'logit_bias'),
  *('threshold', 'conflict_share', 'kept_share', 'skipped'),
  *('own_text_share', 'own_text_conflict_share'),
)
_SHARES = {
  'conflict_share': 'cosine below 0',
  'own_text_conflict_share': 'the same, of captions whose text is unlike the others',
  'kept_share': 'kept',
}
_HOW = {
  'gradient_norm': 'norm of the gradient',
  'temperature': 'temperature of the similarities',
  'logit_bias': 'bias of the logits',
  'learning_rate': 'learning rate',
  'pairs_per_second': 'pairs/s, evaluations left out',
}


def curves_section(
  rows: Sequence[Mapping],
  *,
  chance: Mapping[str, Recall],
  selected_on: str,
  best_step: int | None,
) -> str:
  """Loss and its terms, recall, learning rate and speed, over epochs.

  Args:
    rows: of `metrics.jsonl`.
    chance: split -> expected recalls of a random order; of some or none.
    selected_on: the split whose recall picks the step.
    best_step: the step that was selected; None where none has been.
  """
  train = [row for row in rows if row['kind'] == 'train']
  epochs = steps_per_epoch(rows)
  x_label = 'epoch' if train else 'step'
  mark = None if best_step is None else (best_step / epochs, 'selected')
  evaluations = [
    row | {'epoch': row['step'] / epochs} for row in rows if row['kind'] == 'evaluation'
  ]
  figures = [
    chart({name: points(train, name)}, what=what, x_label=x_label, mark=mark)
    for name, what in _quantities(train).items()
  ]
  figures[1:1] = _recall_charts(
    evaluations, chance=chance, selected_on=selected_on, x_label=x_label, mark=mark
  )
  grid = f'<div class="grid">{"".join(figures)}</div>'
  return section('Curves', paragraph(_of_logging(train)), grid)


def steps_per_epoch(rows: Sequence[Mapping]) -> float:
  """By the last training row of `metrics.jsonl`; 1 where there is none."""
  train = [row for row in rows if row['kind'] == 'train']
  return train[-1]['step'] / train[-1]['epoch'] if train else 1


def points(rows: Sequence[Mapping], name: str) -> Points:
  """(epoch, value) of rows that have it; at most `MOST_POINTS`, evenly spaced."""
  found = [(row['epoch'], row[name]) for row in rows if name in row]
  if len(found) <= MOST_POINTS:
    return found
  return [found[k] for k in np.linspace(0, len(found) - 1, MOST_POINTS).astype(int)]


def _quantities(train: Sequence[Mapping]) -> dict[str, str]:
  """The scalars of training rows, the loss and its terms first, and what they are."""
  names = {name for row in train for name in row if isinstance(row[name], float)}
  terms = sorted(names - {*_NOT_TERMS})
  quantities = {'loss': 'loss'} | {name: f'{name} term of the loss' for name in terms}
  return {name: what for name, what in (quantities | _HOW).items() if name in names}


def _recall_charts(
  rows: Sequence[Mapping], *, chance: Mapping[str, Recall], selected_on: str, **axis
) -> list[str]:
  """The mean recall of each split, and the six recalls of the selecting one."""
  names = sorted({row['split'] for row in rows}, key=lambda name: name != selected_on)
  splits = {name: [] for name in names}
  for row in rows:
    splits[row['split']].append(row)
  means = {split: points(of_split, 'mean_recall') for split, of_split in splits.items()}
  if selected_on in chance and means.get(selected_on):
    level = chance[selected_on]['mean_recall']
    ends = means[selected_on][0], means[selected_on][-1]
    means[f'chance, {selected_on}'] = [(epoch, level) for epoch, _ in ends]
  details = {
    header_of(name): points(splits.get(selected_on, []), name) for name in RECALLS[:-1]
  }
  return [
    chart(means, what='mean recall (mR) in %', **axis),
    chart(details, what=f'recall in % on {selected_on}', **axis),
  ]


def chart(series: Mapping[str, Points], *, what: str, x_label: str, mark=None) -> str:
  """A line chart with its caption; a sentence where there is nothing to draw."""
  series = {name: line for name, line in series.items() if _has_finite(line)}
  if not series:
    return figure('', escape(f'{what}: no finite value was logged'))
  title = f'{what} by {x_label}: {"; ".join(map(_ends, series, series.values()))}'
  drawn = line_chart(series, title=title, x_label=x_label, mark=mark)
  return figure(drawn, escape(what))


def _ends(name: str, line: Points) -> str:
  return f'{name} from {line[0][1]:.4g} to {line[-1][1]:.4g}'


def _has_finite(line: Points) -> bool:
  return any(math.isfinite(value) for _, value in line)


def _of_logging(train: Sequence[Mapping]) -> str:
  if not train:
    return 'No training step was logged.'
  wrong = sum(not math.isfinite(row['loss']) for row in train)
  parts = [
    f'{len(train):,} logged steps, each the values of that step, not a mean since the '
    'last; the vertical line, where there is one, is the selected step.'
  ]
  if len(train) > MOST_POINTS:
    parts.append(f'Of each line {MOST_POINTS} points are drawn, evenly spaced.')
  if wrong:
    parts.append(f'At {wrong:,} of them the loss was not finite: not drawn.')
  return ' '.join(parts)


def conflicts_section(rows: Sequence[Mapping], *, pair: str) -> str:
  """How the angles of the compared gradients were spread while the run trained.

  Args:
    rows: of `metrics.jsonl`.
    pair: `harmonization.pair` of the run; for 'none' there is only a sentence.
  """
  title = 'Conflicts'
  rows = [row for row in rows if 'cosine_histogram' in row]
  if pair == 'none':
    text = 'Harmonization is off (harmonization.pair=none): no angles were measured.'
    return section(title, paragraph(text))
  if not rows:
    return section(title, paragraph('No step with angles was logged.'))
  counts, epochs = histograms(rows)
  series = {what: points(rows, name) for name, what in _SHARES.items()}
  text = (
    f'harmonization.pair={pair}: for each sample, the cosine of the two gradients that '
    'are compared. Below 0 they pull against each other: a conflict. The map shows it '
    f'{_of_strip(counts)}.'
  )
  strip = figure(_strip(counts, epochs), 'cosines by epoch')
  shares = chart(series, what='shares of the samples', x_label='epoch', mark=None)
  return section(title, paragraph(text), f'<div class="grid">{strip}{shares}</div>')


def histograms(rows: Sequence[Mapping]) -> tuple[np.ndarray, list[float]]:
  """Shares of samples by angle and time.

  Args:
    rows: with `cosine_histogram`, counts of bins from -1 to 1, and `epoch`.

  Returns:
    f64[bins, columns], each column the mean of neighbouring rows, its sum 1; and the
    epoch of the first row of each column; at most `MOST_COLUMNS`.
  """
  counts = np.array([row['cosine_histogram'] for row in rows], np.float64)
  shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
  parts = np.array_split(np.arange(len(rows)), min(len(rows), MOST_COLUMNS))
  columns = np.stack([shares[part].mean(axis=0) for part in parts], axis=1)
  return columns, [rows[part[0]]['epoch'] for part in parts]


def _strip(shares: np.ndarray, epochs: Sequence[float]) -> str:
  n_bins, n_columns = shares.shape
  labels = [''] * n_bins
  labels[0], labels[n_bins // 2], labels[-1] = '-1', '0', '1'
  every = max(n_columns // 4, 1)
  return heat_map(
    np.sqrt(shares[::-1]),
    rows=labels[::-1],
    columns=['' if k % every else f'{e:.2g}' for k, e in enumerate(epochs)],
    title=f'cosines of compared gradients by epoch, {_of_strip(shares)}',
    cell=((WIDTH - LEFT - RIGHT) / n_columns, 168 / n_bins),
    x_label='epoch',
  )


def _of_strip(shares: np.ndarray) -> str:
  return (
    'from -1 (below) to 1 (above): the stronger the colour, the more samples, up to '
    f'{100 * shares.max():.0f} % of a column (colour by the square root of the share)'
  )
