"""The command that compares: two methods by name, tables and JSON."""

import json

import pytest
from absl.testing import flagsaver

from harma_jax.compare import main, sides_of
from harma_jax.errors import UserError


def test_the_command_prints_tables_and_writes_json(finished_run, capsys, tmp_path):
  out = tmp_path / 'result.json'
  with flagsaver.flagsaver(split=['val'], out=str(out)):
    main(['compare', str(finished_run), str(finished_run)])
  printed = capsys.readouterr().out
  written = json.loads(out.read_text())
  assert json.loads(printed.splitlines()[-1]) == written
  assert list(written['splits']) == ['val']
  assert 'val: recall in %, A and B' in printed
  assert 'identical captions right' in printed
  for row in written['splits']['val']['standard'].values():
    assert (row['difference'], row['p_value']) == (0, 1)


@pytest.mark.parametrize('words', [[], ['a'], ['a', 'b', 'c'], ['a,', 'b']])
def test_two_methods_must_be_named(words):
  with pytest.raises(UserError, match='Expected RUN_A RUN_B'):
    sides_of(words)
