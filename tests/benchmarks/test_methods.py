"""The table of methods: what is run again, means, paired differences, stars."""

import json

import numpy as np
import pytest
from absl.testing import flagsaver

from benchmarks import methods
from harma_jax.errors import UserError
from harma_jax.evaluation.recall import recall_of_ranks

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
  np.savez(run / methods.RANKS_FILE, caption_image=CAPTION_IMAGE, **ranks)
  return {
    'method': method,
    'seed': seed,
    'trainable': 7,
    'seconds': 10.0 * seed,
    'recall': recall_of_ranks(ranks),
  }


@pytest.fixture
def rows(tmp_path):
  return [write_run(tmp_path, name, seed) for name in QUALITY for seed in (1, 0)]


def test_a_summary_holds_means_and_differences_on_the_same_queries(rows, tmp_path):
  found = methods.summaries(rows, folder=tmp_path)
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
  assert methods.excludes_zero(lora['less_full'])
  assert lora['less_full']['difference'] < 0 < lora['less_zero_shot']['difference']
  assert 'less_full' not in found['full']


def test_a_method_whose_ranks_are_gone_is_left_as_it_was(rows, tmp_path):
  (tmp_path / 'lora-1' / methods.RANKS_FILE).unlink()
  assert methods.summaries(rows, folder=tmp_path).keys() == {'zero_shot', 'full'}


def test_only_common_seeds_are_compared(rows, tmp_path):
  few = [row for row in rows if (row['method'], row['seed']) != ('full', 0)]
  row = methods.summaries(few, folder=tmp_path)['lora']['less_full']
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
  assert methods.difference(row | {'over_seeds': over_seeds}).split(']')[1] == stars
  assert methods.difference(row).split(']')[1] == stars[:1]
  assert methods.difference(None) == ''


@pytest.fixture
def start(monkeypatch, tmp_path):
  """`start(**flags)` runs the command with fake runs; returns those that it ran."""

  def make(**settings):
    ran = []

    def run(config, method, *, workdir):
      ran.append((method, config.seed, config.optimizer.learning_rate))
      return write_run(workdir.parent, method, config.seed)

    monkeypatch.setattr(methods, 'run', run)
    flags = {'root': 'data', 'init': 'start', 'out': str(tmp_path / 'out/table.json')}
    flags |= {'workdir': str(tmp_path / 'work'), 'methods': ['full', 'lora']}
    with flagsaver.flagsaver(**flags | settings):
      methods.main(['methods'])
    return ran

  return make


def test_what_is_in_the_file_is_not_run_again(start, tmp_path, capsys):
  assert start(seeds=['0'], rates=['full=0.001']) == [
    ('full', 0, 0.001),
    ('lora', 0, 4e-4),
  ]
  assert start(seeds=['0', '1'], methods=['lora']) == [('lora', 1, 4e-4)]
  results = json.loads((tmp_path / 'out/table.json').read_text())
  assert len(results['runs']) == 3
  assert results['methods']['lora']['seeds'] == [0, 1]
  table = (tmp_path / 'out/table.md').read_text()
  assert table in capsys.readouterr().out
  assert table.index('| `full` |') < table.index('| `lora` |')


@pytest.mark.parametrize(
  ('flags', 'words'),
  [
    ({'epochs': 3.0}, r"expected a new file, .*'epochs': 3.0.*; found .*'epochs': 2.0"),
    ({'rates': ['lora']}, '--rates: expected METHOD=RATE'),
    ({'rates': ['some=1']}, 'rates: expected names of methods'),
    ({'seeds': ['one']}, '--seeds: expected different whole numbers .* found one'),
    ({'methods': ['harma', 'some']}, "expected one of zero_shot, .*; found 'some'"),
    ({'init': ''}, r'Expected --init=\.\.\.'),
  ],
)
def test_mistakes_are_named_before_anything_runs(start, monkeypatch, flags, words):
  start(seeds=['0'])
  monkeypatch.setattr(methods, 'is_run', lambda *_: pytest.fail('began'))
  with pytest.raises(UserError, match=words):
    start(**flags)
