"""Tables of accuracies and mistakes."""

import numpy as np

from harma_jax.classification.accuracies import measure
from harma_jax.classification.tables import print_results

LABELS = np.array([0, 0, 0, 1])
NAMES = {'BareLand': '[b]are land', 'port': 'a harbour'}


def printed_of(capsys, scores):
  results = measure(scores, LABELS, names=NAMES)
  print_results({'n_images': len(LABELS)} | results)
  lines = capsys.readouterr().out.splitlines()
  cells = [
    [cell.strip() for cell in line.strip('│').split('│')]
    for line in lines
    if '│' in line
  ]
  return results, lines, cells


def test_both_models_their_difference_and_the_mistakes_are_printed(capsys):
  before = np.array([[0.9, 0.1]] * 4)
  model = np.array([[0.9, 0.1], [0.9, 0.1], [0.2, 0.8], [0.3, 0.7]])
  results, lines, cells = printed_of(capsys, {'before': before, 'model': model})
  assert 'in % of 4 images, with 95 % intervals' in lines
  assert ['[b]are land', '3', '100.0', '66.7'] in cells
  assert ['chance', '50.0', '50.0'] in cells
  assert ['[b]are land', 'a harbour', '1', '33.3'] in cells
  rows = {'model': ('model', ''), 'difference': ('model - before', '+')}
  for key, (title, sign) in rows.items():
    [row] = [row for row in cells if row[0] == title]
    top1 = [f'{results[key]["top1"][of]:{sign}.1f}' for of in ('value', 'low', 'high')]
    assert row[1] == '{} ({} to {})'.format(*top1)


def test_a_model_alone_has_no_column_of_another(capsys):
  _, lines, _ = printed_of(capsys, {'model': np.eye(2)[LABELS]})
  assert 'before' not in '\n'.join(lines)
