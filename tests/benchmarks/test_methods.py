"""The table of methods: what is run again, means, paired differences, stars."""

import json
import pathlib
import types

import numpy as np
import pytest
from absl.testing import flagsaver

from benchmarks import methods, methods_table
from harma_jax.configs.rsicd import get_config
from harma_jax.errors import UserError
from harma_jax.evaluation.recall import recall_of_ranks
from harma_jax.rundir.workdir import METRICS_FILE, RESULTS_FILE

CAPTION_IMAGE = np.repeat(np.arange(40), 3)


def ranks_of(quality, seed):
  """Ranks of 40 images and 120 captions, lower for a higher quality."""
  rng = np.random.default_rng(seed)
  draw = lambda n: rng.geometric(quality, n) - 1  # noqa: E731
  return {'i2t': draw(40), 't2i': draw(120)}


QUALITY = {'zero_shot': 0.05, 'full': 0.5, 'lora': 0.1}


def write_run(folder, method, seed):
  """The ranks of a run in its folder, and its row."""
  ranks = ranks_of(QUALITY[method], seed)
  run = folder / f'{method}-{seed}'
  run.mkdir(parents=True)
  np.savez(run / methods_table.RANKS_FILE, caption_image=CAPTION_IMAGE, **ranks)
  return {
    'method': method,
    'seed': seed,
    'run': run.name,
    'learning_rate': 1e-3,
    'trainable': 7,
    'seconds': 10.0 * seed,
    'recall': recall_of_ranks(ranks),
  }


@pytest.fixture
def rows(tmp_path):
  return [write_run(tmp_path, name, seed) for name in QUALITY for seed in (1, 0)]


def test_a_summary_holds_means_and_differences_on_the_same_queries(rows, tmp_path):
  found = methods_table.summaries(rows, folder=tmp_path)
  means = {
    name: np.mean([r['recall']['mean_recall'] for r in rows if r['method'] == name])
    for name in QUALITY
  }
  lora = found['lora']
  assert lora['mean']['mean_recall'] == pytest.approx(means['lora'])
  assert lora['interval']['mean_recall'][0] < means['lora']
  assert lora['interval']['mean_recall'][1] > means['lora']
  values = [row['recall']['i2t_r5'] for row in rows if row['method'] == 'lora']
  assert lora['deviation']['i2t_r5'] == pytest.approx(np.std(values, ddof=1))
  assert lora['less_full']['difference'] == pytest.approx(means['lora'] - means['full'])
  assert lora['less_full']['seeds'] == [0, 1]
  assert methods_table.excludes_zero(lora['less_full'])
  assert lora['less_full']['difference'] < 0 < lora['less_zero_shot']['difference']
  assert 'less_full' not in found['full']


def test_a_method_whose_ranks_are_gone_is_left_as_it_was(rows, tmp_path):
  (tmp_path / 'lora-1' / methods_table.RANKS_FILE).unlink()
  assert methods_table.summaries(rows, folder=tmp_path).keys() == {'zero_shot', 'full'}


def test_only_common_seeds_are_compared(rows, tmp_path):
  few = [row for row in rows if (row['method'], row['seed']) != ('full', 0)]
  row = methods_table.summaries(few, folder=tmp_path)['lora']['less_full']
  assert row['seeds'] == [1]
  assert 'over_seeds' not in row


@pytest.mark.parametrize(
  ('queries', 'seeds', 'stars'),
  [
    ((-1.0, 2.0), (0.5, 1.0), ''),
    ((0.5, 2.0), (-0.5, 1.0), '*'),
    ((0.5, 2.0), (None, None), '*'),
    ((-2.0, -0.5), (-3.0, -0.1), '**'),
  ],
)
def test_stars_say_which_intervals_exclude_0(queries, seeds, stars):
  over_seeds = dict(zip(('low', 'high'), seeds, strict=True))
  row = {'difference': 1.0, 'low': queries[0], 'high': queries[1]}
  assert (
    methods_table.difference(row | {'over_seeds': over_seeds}).split(']')[1] == stars
  )
  assert methods_table.difference(row).split(']')[1] == stars[:1]
  assert methods_table.difference(None) == ''


def test_p_values_are_adjusted_for_their_number():
  """By hand: 5 x 0.005, 4 x 0.01, 3 x 0.03, and 2 x 0.04 not below the one before."""
  found = methods_table.holm({'a': 0.01, 'b': 0.04, 'c': 0.03, 'd': 0.005, 'e': 1.0})
  assert list(found) == ['d', 'a', 'c', 'b', 'e']
  assert found == pytest.approx({'d': 0.025, 'a': 0.04, 'c': 0.09, 'b': 0.09, 'e': 1.0})


def test_what_holds_after_the_correction_is_said(rows, tmp_path):
  found = methods_table.summaries(rows, folder=tmp_path)
  lines = methods_table.corrected(found)
  assert '- from `zero_shot`, over queries, of 2: `full`, `lora`' in lines
  assert '- from `harma`, over queries, of 0: none' in lines
  found['full']['less_zero_shot'] |= {'over_seeds': {'p_value': 0.03}}
  found['lora']['less_zero_shot'] |= {'over_seeds': {'p_value': None}}
  lines = methods_table.corrected(found)
  assert '- from `zero_shot`, over seeds, of 2: none' in lines


RATE_QUALITY = {1e-4: 0.05, 4e-4: 0.1, 1e-3: 0.5}


@pytest.fixture
def start(monkeypatch, tmp_path):
  """`start(**flags)` runs the command without training; returns the runs it trained."""
  configs, evaluated = {}, []

  def train(config, *, workdir):
    workdir.mkdir(parents=True)
    (workdir / RESULTS_FILE).write_text('{"steps": 3}')
    (workdir / METRICS_FILE).write_text('')
    configs[workdir] = config

  def ranks_of_run(run, *, tables):
    (split,) = tables
    evaluated.append((pathlib.Path(run.folder).name, split))
    quality = RATE_QUALITY[run.config.optimizer.learning_rate]
    return {split: {'standard': ranks_of(quality, run.config.seed)}}

  def build_table(config, split):
    assert split in (config.data.val_split, config.data.test_split)
    return types.SimpleNamespace(caption_image=CAPTION_IMAGE)

  monkeypatch.setattr(methods, 'train', train)
  monkeypatch.setattr(methods, 'ranks_of_run', ranks_of_run)
  monkeypatch.setattr(methods, 'build_table', build_table)
  monkeypatch.setattr(methods, 'read_config', configs.__getitem__)

  def make(config, **settings):
    before = len(configs)
    found = (config, 'configs/rsicd.py:tiny')
    monkeypatch.setattr(methods.cli, 'read_config_flag', lambda _: found)
    flags = {'out': str(tmp_path / 'out/table.json')}
    flags |= {'workdir': str(tmp_path / 'work'), 'methods': ['full', 'lora']}
    evaluated.clear()
    with flagsaver.flagsaver(**flags | settings):
      methods.main(['methods'])
    return [folder.name for folder in list(configs)[before:]], evaluated

  make.configs = configs
  return make


@pytest.fixture
def config():
  return get_config('tiny')


def test_what_is_in_the_file_is_not_run_again(start, config, tmp_path, capsys):
  ran, evaluated = start(config, seeds=['0'], rates=['full=0.001'])
  assert ran == ['pretrain', 'full-0.001-0', 'lora-0.0004-0']
  assert evaluated == [(name, 'test') for name in ran[1:]]
  first, lora = (start.configs[tmp_path / 'work' / name] for name in (ran[0], ran[2]))
  assert (first.optimizer.train, lora.optimizer.train) == ('full', 'adapters')
  assert lora.init == str(tmp_path / 'work/pretrain')
  assert (lora.data.val_split, lora.model.adapters) == ('', 'lora')
  ran, _ = start(config, seeds=['0', '1'], methods=['lora'])
  assert ran == ['lora-0.0004-1']
  results = json.loads((tmp_path / 'out/table.json').read_text())
  assert len(results['runs']) == 3
  assert results['methods']['lora']['seeds'] == [0, 1]
  table = (tmp_path / 'out/table.md').read_text()
  assert table in capsys.readouterr().out
  assert table.index('| `full` |') < table.index('| `lora` |')


def test_without_a_pretraining_the_given_weights_are_where_all_start(start, config):
  config.init = 'somewhere'
  ran, _ = start(config, seeds=['0'])
  assert ran == ['full-0.0004-0', 'lora-0.0004-0']
  assert {run.init for run in start.configs.values()} == {'somewhere'}


def test_a_search_chooses_each_rate_on_val_with_the_first_seed(start, config, tmp_path):
  settings = {'seeds': ['0', '1'], 'methods': ['zero_shot', 'lora', 'full']}
  settings |= {'search': ['1e-4', '1e-3'], 'rates': ['full=4e-4']}
  ran, evaluated = start(config, **settings)
  searched = ['lora-0.0001-0', 'lora-0.001-0']
  rest = ['zero_shot-0.0004-0', 'full-0.0004-0']
  rest += ['zero_shot-0.0004-1', 'lora-0.001-1', 'full-0.0004-1']
  assert ran == ['pretrain', *searched, *rest]
  assert [name for name, split in evaluated if split == 'val'] == searched
  results = json.loads((tmp_path / 'out/table.json').read_text())
  assert results['searches'].keys() == {'lora'}
  assert results['searches']['lora'].keys() == {'0.0001', '0.001'}
  assert {row['learning_rate'] for row in results['runs']} == {4e-4, 1e-3}
  assert start(config, **settings) == ([], [])
  settings['rates'] = ['full=4e-4', 'lora=4e-4']  # no rows of two rates in one mean
  assert start(config, **settings)[0] == ['lora-0.0004-0', 'lora-0.0004-1']
  results = json.loads((tmp_path / 'out/table.json').read_text())
  assert len(results['runs']) == 6
  assert {row['learning_rate'] for row in results['runs']} == {4e-4}


@pytest.mark.parametrize(
  ('fields', 'flags', 'words'),
  [
    ({'train.epochs': 3.0}, {}, r"expected a new .*'epochs': 3.0.*; found .*: 2.0"),
    ({}, {'rates': ['lora']}, '--rates: expected METHOD=RATE'),
    ({}, {'rates': ['some=1']}, 'rates: expected names of methods'),
    ({}, {'search': ['high']}, '--search: expected numbers .*; found high'),
    (
      {'data.test_split': 'val'},
      {'search': ['1e-4']},
      "--search: expected data.val_split .* found 'val' and 'val'",
    ),
    ({}, {'seeds': ['one']}, '--seeds: expected different whole numbers .* found one'),
    ({}, {'methods': ['harma', 'some']}, "expected one of zero_shot, .*; found 'some'"),
    ({}, {'out': None}, r'Expected --out=FILE.json'),
  ],
)
def test_mistakes_are_named_before_anything_runs(start, config, fields, flags, words):
  start(config, seeds=['0'])
  trained = len(start.configs)
  config.update_from_flattened_dict(fields)
  with pytest.raises(UserError, match=words):
    start(config, **flags)
  assert len(start.configs) == trained
