"""The comparison: turns, ratios of neighbours, and what is said where none is taken."""

import argparse
import importlib.util
import json
import pathlib
import sys

import pytest

PATH = pathlib.Path(__file__).resolve().parents[2] / 'benchmarks/compare.py'


@pytest.fixture(scope='module')
def compare():
  spec = importlib.util.spec_from_file_location('compare', PATH)
  module = importlib.util.module_from_spec(spec)
  sys.modules['compare'] = module  # a dataclass looks its module up
  spec.loader.exec_module(module)
  yield module
  del sys.modules['compare']


@pytest.fixture
def case(compare):
  return compare.Case(
    platform='cpu',
    batch=4,
    tokens=8,
    dtype='float32',
    speed={'eager': 3.0, 'compiled': 1.25},
    utilisation=0.4,
    training=0.95,
  )


def result(speed, **more):
  named = {'framework': 'jax 1', 'device': 'cpu', 'model_flop_utilisation': 0.5}
  return named | {'pairs_per_second': {'median': speed}} | more


def test_the_sides_take_turns(compare, case):
  order = []
  run = lambda case, side: order.append(side) or result(1.0)  # noqa: E731
  found = compare.measure(case, run=run, rounds=2, with_data=True)
  assert order == ['jax', 'eager', 'compiled', 'train'] * 2
  assert {side: len(results) for side, results in found.items()} == dict.fromkeys(
    ['jax', 'eager', 'compiled', 'train'], 2
  )
  assert compare.sides_of(case, with_data=False) == ['jax', 'eager', 'compiled']


def test_a_ratio_is_the_median_of_those_of_neighbours(compare, case):
  found = {
    'jax': [result(2.0), result(8.0), result(9.0)],
    'eager': [result(1.0), result(2.0), result(9.0)],
    'compiled': [result(4.0), result(4.0), 'failed: memory'],
    'train': [result(1.0, share_waiting_for_input=0.25)] * 3,
  }
  eager, compiled, utilisation, training = compare.rows_of(case, found)
  assert eager['values'] == [2, 4, 1]
  assert eager['value'] == 2
  assert eager['pairs_per_second'] == {'jax': 8, 'torch': 2}
  assert (compiled['value'], compiled['not_measured']) == (
    None,
    'failed: memory',
  )
  assert utilisation['value'] == 0.5
  assert training['value'] == 0.75
  assert [row['target'] for row in (eager, compiled, utilisation, training)] == [
    *(3.0, 1.25, 0.4, 0.95)
  ]


def test_what_cannot_be_measured_says_why(compare, case):
  rows = compare.missing_rows(case, reason='no accelerator here')
  assert len(rows) == 4
  assert {row['not_measured'] for row in rows} == {'no accelerator here'}
  page = compare.markdown(rows, about={'size': 'tiny'})
  assert page.count('not measured: no accelerator here') == 4
  uncounted = [result(1.0, model_flop_utilisation=None)]
  found = dict.fromkeys(('jax', 'eager', 'compiled'), uncounted)
  *_, utilisation, training = compare.rows_of(case, found)
  assert utilisation['not_measured'] == 'the backend does not count FLOP'
  assert training['not_measured'] == compare.NO_DATA


def test_both_files_are_written(compare, case, monkeypatch, tmp_path):
  monkeypatch.setattr(compare, 'run_process', lambda words, **_: result(2.0))
  monkeypatch.setattr(compare, 'has_accelerator', lambda: False)
  out = tmp_path / 'step'
  arguments = compare.parse([f'--out={out}', '--rounds=2'])
  compare.main(arguments, cases=[case, *compare.CASES])
  whole = json.loads(out.with_suffix('.json').read_text())
  page = out.with_suffix('.md').read_text()
  assert whole['about']['framework'] == 'jax 1'
  assert len(whole['rows']) == 4 + 2 + 4 + 4
  assert len(whole['runs'][0]['found']['eager']) == 2
  assert '| speed over PyTorch eager | cpu | 4 | 8 | float32 | 2.0 | 2.0 | 1.00' in page
  assert page.count('no accelerator here') == 8


def test_both_sides_are_asked_for_the_same(compare, case):
  arguments = argparse.Namespace(
    torch_python='python3',
    size='tiny',
    steps=3,
    warmup=1,
    jax_flags='--z=3',
    train_flags='--x=1 --y=2',
  )
  ours, theirs, train = (
    compare.command(case, side, arguments=arguments)
    for side in ('jax', 'compiled', 'train')
  )
  assert {'--batch=4', '--tokens=8', '--size=tiny', '--variant=compiled'} < set(theirs)
  assert '--config.train.batch_size=4' in ours
  assert '--config.data.context_length=8' in ours
  assert '--config.model.dtype=float32' in ours
  assert {'--steps=3', '--warmup=1'} <= set(ours) & set(theirs)
  assert '--mode=step' in ours
  assert '--z=3' in ours
  assert '--z=3' not in theirs
  assert {'--mode=train', '--x=1', '--y=2', '--z=3'} < set(train)


def test_another_checkout_is_a_side_of_each_case(compare, case, monkeypatch, tmp_path):
  ran = []

  def run(words, *, platform, root):
    ran.append((words[2], root))
    return result(3.0 if root == compare.REPOSITORY else 2.0)

  monkeypatch.setattr(compare, 'run_process', run)
  monkeypatch.setattr(compare, 'has_accelerator', lambda: False)
  baseline = tmp_path / 'other'
  out = tmp_path / 'step'
  arguments = compare.parse([f'--out={out}', '--rounds=1', f'--baseline={baseline}'])
  compare.main(arguments, cases=[case])
  rows = json.loads(out.with_suffix('.json').read_text())['rows']
  (row,) = [row for row in rows if row['what'] == 'speed over the baseline']
  assert row['value'] == 1.5
  assert ran.count(('harma_jax.bench', baseline)) == 1
  assert ('harma_jax.bench', compare.REPOSITORY) in ran


def test_a_side_that_fails_gives_its_last_line(compare):
  words = [sys.executable, '-c', 'import sys; sys.exit("one\\ntwo")']
  assert compare.run_process(words, platform='cpu') == 'failed: two'
  words = [sys.executable, '-c', 'import os; print(len(os.environ["JAX_PLATFORMS"]))']
  assert compare.run_process(words, platform='cpu') == 3
