"""Rows and tables as numbers by name."""

from harma_jax.evaluation.recall import RECALLS
from harma_jax.tracking.numbers import markdown_of, numbers_of, summary_of


def test_a_row_is_called_by_its_kind_or_split():
  train = {'kind': 'train', 'step': 4, 'epoch': 0.5, 'loss': 2.0, 'histogram': [1, 2]}
  assert numbers_of(train) == {'train/epoch': 0.5, 'train/loss': 2.0}
  row = {'kind': 'evaluation', 'step': 4, 'split': 'val', 'mean_recall': 12}
  assert numbers_of(row) == {'val/mean_recall': 12.0}


def test_tables_are_called_by_what_their_rows_are():
  rows = {'chance': {'mean_recall': 1.0}, 'step 9, selected': {'mean_recall': 7.0}}
  results = {'best_step': 9, 'splits': {'test': rows}}
  assert summary_of(results) == {
    'results/best_step': 9.0,
    'results/test/chance/mean_recall': 1.0,
    'results/test/selected/mean_recall': 7.0,
  }


def test_a_table_has_a_line_for_each_row():
  recall = {name: 10.0 + k for k, name in enumerate(RECALLS)} | {'more': 3.0}
  header, rule, row = markdown_of({'step 0': recall}).splitlines()
  assert header.split(' | ') == ['|', *RECALLS[:-1], f'{RECALLS[-1]} |']
  assert rule == '|---' * (len(RECALLS) + 1) + '|'
  cells = [cell.strip() for cell in row.strip('|').split('|')]
  assert cells == ['step 0', *(f'{recall[name]:.2f}' for name in RECALLS)]
