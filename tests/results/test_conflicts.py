"""Harmonized runs from the config on, and the captions that they note."""

import json

import pytest

from harma_jax.errors import UserError
from harma_jax.results.conflicts import read_conflicts
from harma_jax.rundir.checkpoint import Checkpoints
from harma_jax.training.loop import train

HARMONIZED = {
  'harmonization.pair': 'captions',
  'harmonization.curriculum': 'drop',
  'harmonization.threshold': (-0.3, 0.0),
  'harmonization.threshold_unit': 'cosine',
  'data.captions_per_image': 2,
  'train.epochs': 4.0,
}


@pytest.fixture(scope='module')
def run(small_config, tmp_path_factory):
  workdir = tmp_path_factory.mktemp('harmonized') / 'run'
  train(small_config(HARMONIZED), workdir=workdir)
  return workdir


def rows_of(path):
  return [json.loads(line) for line in path.read_text().splitlines()]


def test_metrics_tell_of_the_conflicts(run):
  rows = [row for row in rows_of(run / 'metrics.jsonl') if row['kind'] == 'train']
  # Twelve images in batches of eight: one step an epoch.
  assert len(rows) == 4
  for row in rows:
    assert 0 <= row['conflict_share'] <= 1
    assert 0 < row['kept_share'] <= 1
    assert sum(row['cosine_histogram']) == 8 * 2
    assert row['cosine_quantiles'] == sorted(row['cosine_quantiles'])
  thresholds = [row['threshold'] for row in rows]
  assert thresholds == pytest.approx([-0.3, -0.15, 0.0, 0.0])


def test_the_most_conflicting_captions_are_noted_with_their_images(run):
  rows = read_conflicts(run)
  assert {row['step'] for row in rows} == {4}
  cosines = [row['mean_cosine'] for row in rows]
  assert cosines == sorted(cosines)
  for row in rows:
    name = row['image'].rsplit('/', 1)[1]
    assert row['caption'].startswith(name.removesuffix('.png'))
    assert 0 <= row['dropped'] <= row['seen'] <= 4


def test_the_account_outlives_an_interruption(run, small_config, tmp_path):
  import jax

  class Killed(Exception):
    """The run ends here."""

  def die(*_, **__):
    raise Killed

  workdir = tmp_path / 'run'
  config = small_config(HARMONIZED | {'checkpoint.every_steps': 1})
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(Checkpoints, 'best_step', die)
    with pytest.raises(Killed):
      train(config, workdir=workdir)
  train(config, workdir=workdir)
  last, again = read_conflicts(run), read_conflicts(workdir)
  assert jax.tree.map(str, last) == jax.tree.map(str, again)


def test_a_run_without_harmonization_has_none(finished_run):
  with pytest.raises(UserError, match=r'harmonization\.pair'):
    read_conflicts(finished_run)
