"""The command that compares: two methods by name, tables and JSON."""

import json

import pytest
from absl.testing import flagsaver

from harma_jax.compare import main, names_of, sides_of
from harma_jax.errors import UserError


def test_the_command_prints_tables_and_writes_json(finished_run, capsys, tmp_path):
  out = tmp_path / 'result.json'
  with flagsaver.flagsaver(split=['val'], out=str(out)):
    main(['compare', str(finished_run), str(finished_run)])
  printed = capsys.readouterr().out
  written = json.loads(out.read_text())
  assert list(written['splits']) == ['val']
  assert f'{finished_run.name} ┃' in printed
  assert 'identical captions right' in printed
  for row in written['splits']['val']['standard'].values():
    assert (row['difference'], row['p_value']) == (0, 1)


def test_a_machine_gets_json_alone(finished_run, capsys):
  with flagsaver.flagsaver(split=['val'], json=True):
    main(['compare', str(finished_run), str(finished_run)])
  assert list(json.loads(capsys.readouterr().out)['splits']) == ['val']


@pytest.mark.parametrize(
  ('sides', 'names'),
  [
    ([['runs/lora'], ['runs/harma']], ('lora', 'harma')),
    ([['lora/best'], ['harma/best']], ('lora/best', 'harma/best')),
    ([['a_0', 'a_1', 'a_2'], ['b']], ('a_0 and 2 more', 'b')),
    ([['one'], ['one']], ('one', 'one')),
  ],
)
def test_methods_are_called_by_what_tells_their_folders_apart(sides, names):
  assert names_of(sides) == names


@pytest.mark.parametrize('words', [[], ['a'], ['a', 'b', 'c'], ['a,', 'b']])
def test_two_methods_must_be_named(words):
  with pytest.raises(UserError, match='Expected RUN_A RUN_B'):
    sides_of(words)
