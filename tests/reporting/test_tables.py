"""Tables on standard output: of recalls, facts, differences and conflicts."""

import pytest

from harma_jax.evaluation.recall import RECALLS
from harma_jax.reporting.tables import (
  print_conflicts,
  print_differences,
  print_facts,
  print_table,
  with_ties,
)


def recall(value):
  return dict.fromkeys(RECALLS, value)


def test_recalls_stand_below_their_names(capsys):
  print_table('val: recall', {'chance': recall(0.31), 'step 0': recall(100.0)})
  printed = capsys.readouterr().out
  lines = printed.splitlines()
  assert lines[0].startswith('val: recall')
  chance, step_0 = (line for line in lines if '│ chance' in line or '│ step 0' in line)
  assert chance.count('0.3 ') == 7
  assert step_0.count('100.0') == 7
  assert 'mR' in printed


def test_ties_have_rows_of_their_own_where_they_matter():
  expected = {f'{name}_expected': 2.0 for name in RECALLS}
  optimistic = {f'{name}_optimistic': 3.0 for name in RECALLS}
  rows = {
    'step 0': recall(1.0) | expected | optimistic,
    'step 3': recall(2.0) | expected | optimistic,
    'chance': recall(0.5),
  }
  found = with_ties(rows)
  assert {name: row['mean_recall'] for name, row in found.items()} == {
    'step 0': 1.0,
    'step 0, ties at random': 2.0,
    'step 0, ties for it': 3.0,
    'step 3': 2.0,
    'step 3, ties for it': 3.0,
    'chance': 0.5,
  }
  assert all(row.keys() == set(RECALLS) for row in found.values())
  assert 'step 0, ties for it' not in with_ties(rows, kinds=['_expected'])


def test_a_fact_is_shown_whole_as_it_was_written(capsys):
  path = '/folder' * 20
  print_facts('a [title]', {'data': path, 'shape': '[8, 3]'})
  title, *lines = capsys.readouterr().out.splitlines()
  assert title == 'a [title]'
  assert path in ''.join(line.split('│')[2].strip() for line in lines[1:-1])
  assert any('[8, 3]' in line for line in lines)


@pytest.fixture
def differences():
  row = {'first': 30.0, 'second': 32.5, 'difference': 2.5}
  row |= {'low': 1.0, 'high': 4.0, 'p_value': 0.0123}
  return {name: dict(row) for name in RECALLS}


def test_differences_stand_beside_their_interval(differences, capsys):
  print_differences('val', differences, names=('lora', 'harma'))
  printed = capsys.readouterr().out
  assert 'seeds' not in printed
  assert printed.index('lora') < printed.index('harma')
  line = next(line for line in printed.splitlines() if '│ mR' in line)
  cells = [cell.strip() for cell in line.strip('│').split('│')]
  assert cells == ['mR', '30.0', '32.5', '+2.50', '+1.00 to +4.00', '0.0123']


def test_the_table_shows_the_test_over_seeds(differences, capsys):
  over_seeds = {'low': -1.25, 'high': 2.5, 'p_value': 0.31}
  rows = {name: row | {'over_seeds': over_seeds} for name, row in differences.items()}
  print_differences('val', rows, names=('lora', 'harma'))
  printed = capsys.readouterr().out
  assert printed.count('-1.25 to +2.50') == 7
  assert '95 % over seeds' in printed
  rows['mean_recall']['over_seeds'] = dict.fromkeys(over_seeds)
  print_differences('val', rows, names=('lora', 'harma'))
  assert 'no spread' in capsys.readouterr().out


def test_conflicts_are_named_by_image_and_caption(capsys):
  row = {'mean_cosine': -0.25, 'seen': 4, 'dropped': 2.0, 'row': 7}
  print_conflicts([row | {'image': '/data/images/pier_3.png', 'caption': 'boats'}])
  printed = capsys.readouterr().out
  assert all(word in printed for word in ('-0.250', '2', '4', 'pier_3.png', 'boats'))
  assert '/data' not in printed
