"""Which runs may go on for more epochs, and what the others are told."""

import pytest

from harma_jax.errors import UserError
from harma_jax.rundir.more_epochs import planned_over_all
from harma_jax.rundir.workdir import check_workdir, flat

CONSTANT = {'optimizer.schedule': 'constant', 'optimizer.warmup': 0.0}
HARMONIZED = CONSTANT | {'harmonization.pair': 'captions'}


@pytest.mark.parametrize(
  ('fields', 'planned'),
  [
    (CONSTANT, []),
    ({}, ['optimizer.schedule=linear', 'optimizer.warmup=0.1']),
    ({'optimizer.schedule': 'constant'}, ['optimizer.warmup=0.1']),
    (HARMONIZED, ['harmonization.anneal=0.5']),
    (HARMONIZED | {'harmonization.anneal': 0.0}, []),
    (
      HARMONIZED | {'harmonization.start': 0.25},
      ['harmonization.start=0.25', 'harmonization.anneal=0.5'],
    ),
  ],
)
def test_what_is_spread_over_all_steps_is_named(small_config, fields, planned):
  assert planned_over_all(flat(small_config(fields))) == planned


@pytest.fixture
def folder_of(tmp_path):
  """`folder_of(config)`: a work folder that has saved something."""

  def make(config):
    folder = tmp_path / 'a run'
    (folder / 'checkpoints/3').mkdir(parents=True)
    (folder / 'config.json').write_text(config.to_json())
    return folder

  return make


def test_more_epochs_are_let_pass_and_fewer_are_not(small_config, folder_of):
  folder = folder_of(small_config(CONSTANT))
  check_workdir(folder, small_config(CONSTANT | {'train.epochs': 3.0}))
  with pytest.raises(UserError, match=r'train\.epochs was 2\.0, now 1\.0') as error:
    check_workdir(folder, small_config(CONSTANT | {'train.epochs': 1.0}))
  assert '--config.init' not in str(error.value)


def test_a_pretraining_does_not_go_on(small_config, folder_of):
  folder = folder_of(small_config(CONSTANT))
  longer = small_config(CONSTANT | {'train.epochs': 3.0})
  with pytest.raises(UserError, match=r'train\.epochs was 2\.0, now 3\.0'):
    check_workdir(folder, longer, may_go_on=False)


def test_a_planned_schedule_is_told_the_other_way(small_config, folder_of):
  folder = folder_of(small_config())
  with pytest.raises(UserError, match=r'optimizer[.]schedule=linear') as error:
    check_workdir(folder, small_config({'train.epochs': 3.0}))
  assert f"--config.init='{folder}' and another --workdir" in str(error.value)
