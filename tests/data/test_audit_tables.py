"""Tables of what a folder holds: as wide as the terminal, texts as they are."""

import pytest

from harma_jax.data.audit import ERROR, WARNING, Finding, Report, Summary
from harma_jax.data.audit_tables import print_report, print_splits


@pytest.fixture(autouse=True)
def narrow_terminal(monkeypatch):
  monkeypatch.setenv('COLUMNS', '80')


def report_of(*findings):
  counts = {'cut': 1234, 'made equal': 0}
  split = Summary('train', 'captions.jsonl', 1200, 24)
  return Report((split,), findings, {'released': counts})


def test_the_report_is_not_wider_than_the_terminal(capsys):
  caption = 'train and val: "[a] very long [/b] caption' + ' caption' * 60
  found = Finding(WARNING, 'captions in several splits', (caption,))
  print_report(report_of(found), examples=3)
  lines = capsys.readouterr().out.splitlines()
  assert max(map(len, lines)) == 80
  (head,) = (line for line in lines if 'captions in several splits' in line)
  assert (
    head.split()
    == 'x warning x captions in several splits x 1 x'.replace('x', '│').split()
  )
  assert 'train and val: "[a] very long [/b] caption' in '\n'.join(lines)


def test_examples_are_few_and_all_are_counted(capsys):
  missing = Finding(ERROR, 'images that are missing', tuple(f'{i}.png' for i in '0123'))
  print_report(report_of(missing), examples=2)
  printed = capsys.readouterr().out
  assert '1.png' in printed
  assert '2.png' not in printed
  assert printed.endswith('errors: 4, warnings: 0\n')


def test_without_findings_only_the_splits_are_printed(capsys):
  print_report(report_of(), examples=1)
  printed = capsys.readouterr().out
  assert 'found' not in printed
  assert '│ train │  1,200 │       24 │ captions.jsonl │' in printed
  assert '│ data.cleaning │   cut │ made equal │'.replace('│', '┃') in printed
  assert '│ released      │ 1,234 │          0 │' in printed


def test_what_was_prepared_is_counted(capsys):
  print_splits({'val': {'images': 1000, 'captions': 5000}})
  assert '│ val   │  1,000 │    5,000 │' in capsys.readouterr().out
