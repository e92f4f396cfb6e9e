"""Every message of the page on what goes wrong is said, by what goes wrong so.

The messages are read out of the page; a fixture brings about what each is of, and
returns what was then raised, warned of or printed.
"""

import contextlib
import json
import logging
import pathlib
import shutil
import subprocess
import sys

import pytest

from harma_jax.building.params import read_workdir
from harma_jax.errors import UserError
from harma_jax.rundir.results import read_results
from harma_jax.rundir.workdir import append_rows, held
from harma_jax.tracking import kinds
from harma_jax.tracking.worker import Worker
from harma_jax.training.loop import train
from tests.documented import REPOSITORY, documented

# By a phrase that no other documented message has, the fixture that brings one about.
BROUGHT_ABOUT_BY = {
  'train.batch_size: expected': 'a_batch_larger_than_the_split',
  'cannot be found': 'an_image_that_is_missing',
  'expected a readable image': 'an_image_that_is_cut',
  'a loss and a gradient that are finite': 'a_step_that_is_not_finite',
  'expected finite features': 'weights_that_are_not_finite',
  'No space left on device': 'a_full_disk',
  'Interrupted. The same command resumes.': 'a_preemption',
  'no other process trains in': 'a_second_start',
  'optimizer.learning_rate was': 'a_changed_config',
  'was empty, as a copy': 'an_empty_step',
  'no rest/_METADATA in it': 'a_step_without_a_part',
  'missing or cut (NOT_FOUND)': 'a_step_without_numbers',
  'that of another model in': 'steps_of_another_model',
  'of another shape': 'weights_of_another_model',
  'lines cannot be read': 'a_damaged_row',
  'expected rows up to': 'rows_that_are_gone',
  'It is of another run': 'results_of_another_run',
  'Expected a file of JSON': 'a_config_that_is_cut',
  'train.epochs was': 'more_epochs_than_were_planned',
  'that of the seeds': 'a_folder_of_seeds',
  'trackers that are installed': 'a_tracker_that_is_not_there',
  'gets no more of this run': 'a_tracker_that_fails',
  'are others now': 'changed_data',
}
MESSAGES = documented(REPOSITORY / 'docs/operations.md')


@pytest.mark.parametrize('message', MESSAGES, ids=lambda message: message.text[:60])
def test_what_the_page_says_is_said(message, request):
  fixtures = [of for words, of in BROUGHT_ABOUT_BY.items() if words in message.text]
  assert len(fixtures) == 1, f'{message.page}: nothing here brings about {message.text}'
  said = request.getfixturevalue(fixtures[0])
  assert [message.text for words in said if message.is_said_by(words)], said


def test_nothing_is_brought_about_that_the_page_does_not_have():
  texts = [message.text for message in MESSAGES]
  for words in BROUGHT_ABOUT_BY:
    assert sum(words in text for text in texts) == 1, words


@pytest.mark.parametrize(
  ('folder', 'words', 'message'),
  [
    ('new', ['--config.train.batch_size=32'], 'train.batch_size: expected'),
    ('cut', [], 'Expected a file of JSON'),
    ('new', ['--tracker=wandb'], 'trackers that are installed'),
  ],
)
def test_a_mistake_is_one_line_with_exit_code_2(
  environment, small_data, tmp_path, folder, words, message
):
  (tmp_path / 'cut').mkdir()
  (tmp_path / 'cut/config.json').write_text('{')
  hides = 'import sys; sys.modules["wandb"] = None; from harma_jax import cli, main'
  program = f'{hides}; cli.run(main.main, farewell=main._farewell)'
  given = ['--config=benchmarks/toy.py', f'--workdir={tmp_path}/{folder}']
  ended = subprocess.run(
    [sys.executable, '-c', program, *given, f'--config.data.root={small_data}', *words],
    **{'capture_output': True, 'text': True, 'cwd': REPOSITORY, 'env': environment},
  )
  assert (ended.returncode, ended.stdout) == (2, '')
  *_, line = ended.stderr.splitlines()
  assert ended.stderr.count('error: ') == 1
  (expected,) = (each for each in MESSAGES if message in each.text)
  assert expected._replace(text=f'error: {expected.text}').is_said_by(line)


def refused(act, *words, **settings):
  """What `act` says of a user's mistake, in a list."""
  with pytest.raises(UserError) as error:
    act(*words, **settings)
  return [str(error.value)]


@pytest.fixture
def warned(caplog):
  """`warned()`: the warnings so far."""

  def messages():
    records = [record for record in caplog.records if record.levelname == 'WARNING']
    return [record.getMessage() for record in records]

  caplog.set_level(logging.WARNING, logger='absl')
  return messages


@pytest.fixture
def own_data(write_data, tmp_path):
  """A data set to be spoiled."""
  return write_data(tmp_path / 'data')


@pytest.fixture
def own_run(finished_run, tmp_path):
  """A finished run to be spoiled."""
  return shutil.copytree(finished_run, tmp_path / 'own')


@pytest.fixture
def a_batch_larger_than_the_split(small_config, tmp_path):
  config = small_config({'train.batch_size': 32})
  said = refused(train, config, workdir=tmp_path / 'run')
  assert not (tmp_path / 'run').exists()
  return said


@pytest.fixture
def an_image_that_is_missing(small_config, own_data, tmp_path):
  (own_data / 'images/train_7.png').unlink()
  config = small_config({'data.root': str(own_data)})
  said = refused(train, config, workdir=tmp_path / 'run')
  assert not (tmp_path / 'run').exists()
  return said


@pytest.fixture
def an_image_that_is_cut(small_config, own_data, tmp_path):
  path = own_data / 'images/train_7.png'
  path.write_bytes(path.read_bytes()[:900])
  config = small_config({'data.root': str(own_data)})
  said = refused(train, config, workdir=tmp_path / 'run')
  assert not (tmp_path / 'run').exists()
  return said


@pytest.fixture(scope='module')
def not_finite(small_config, tmp_path_factory):
  """A run whose first step makes weights of no use, and what the second then said."""
  huge = {'optimizer.learning_rate': 1e38, 'optimizer.warmup': 0.0}
  workdir = tmp_path_factory.mktemp('not_finite') / 'run'
  return workdir, huge, refused(train, small_config(huge), workdir=workdir)


@pytest.fixture
def a_step_that_is_not_finite(not_finite):
  return not_finite[-1]


@pytest.fixture
def weights_that_are_not_finite(not_finite, small_config):
  workdir, huge, _ = not_finite
  skipping = small_config(huge | {'train.on_nonfinite': 'skip'})
  return refused(train, skipping, workdir=workdir)


@pytest.fixture
def a_full_disk(tmp_path):
  if not pathlib.Path('/dev/full').exists():
    pytest.skip('no /dev/full')
  (tmp_path / 'metrics.jsonl').symlink_to('/dev/full')
  return refused(append_rows, tmp_path / 'metrics.jsonl', [{'step': 1}])


@pytest.fixture
def a_preemption():
  """What the command's last line is where SIGTERM comes; it begins no run here."""
  wait = 'lambda _: (os.kill(os.getpid(), signal.SIGTERM), time.sleep(60))'
  program = (
    'import os, signal, time; from harma_jax import cli, main; '
    f'cli.run({wait}, farewell=main._farewell)'
  )
  command = [sys.executable, '-c', program]
  ended = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY)
  assert ended.returncode == 0, ended.stderr
  return ended.stderr.splitlines()[-1:]


@pytest.fixture
def a_second_start(small_config, own_run):
  with held(own_run):
    return refused(train, small_config(), workdir=own_run)


@pytest.fixture
def a_changed_config(small_config, not_finite):
  workdir, huge, _ = not_finite
  changed = small_config(huge | {'optimizer.learning_rate': 0.1})
  return refused(train, changed, workdir=workdir)


@pytest.fixture
def an_empty_step(small_config, own_run, warned):
  (own_run / 'checkpoints/9').mkdir()
  train(small_config(), workdir=own_run)
  assert not (own_run / 'checkpoints/9').exists()
  return warned()


@pytest.fixture
def a_step_without_a_part(small_config, own_run):
  (own_run / 'checkpoints/6/rest/_METADATA').unlink()
  return refused(train, small_config(), workdir=own_run)


@pytest.fixture
def a_step_without_numbers(small_config, own_run):
  for folder in list((own_run / 'checkpoints/6/trainable').rglob('d')):
    shutil.rmtree(folder)
  return refused(train, small_config(), workdir=own_run)


@pytest.fixture
def a_run_of_another_side(small_config, own_run):
  """A run's folder whose config has become that of another model; that config."""
  config = json.loads((own_run / 'config.json').read_text())
  config['model']['image_size'] = 32
  (own_run / 'config.json').write_text(json.dumps(config))
  return small_config({'model.image_size': 32})


@pytest.fixture
def steps_of_another_model(own_run, a_run_of_another_side):
  return refused(train, a_run_of_another_side, workdir=own_run)


@pytest.fixture
def weights_of_another_model(own_run, a_run_of_another_side):
  return refused(read_workdir, own_run)


def spoil_rows(run, change):
  path = run / 'metrics.jsonl'
  path.write_text(''.join(change(path.read_text().splitlines(keepends=True))))


@pytest.fixture
def a_damaged_row(small_config, own_run, warned):
  spoil_rows(own_run, lambda lines: [lines[0], lines[1][:9] + '\n', *lines[2:]])
  train(small_config(), workdir=own_run)
  return warned()


@pytest.fixture
def rows_that_are_gone(small_config, own_run, warned):
  spoil_rows(own_run, lambda lines: lines[:4])
  train(small_config(), workdir=own_run)
  return warned()


@pytest.fixture
def results_of_another_run(own_run):
  results = json.loads((own_run / 'results.json').read_text())
  (own_run / 'results.json').write_text(json.dumps(results | {'seed': 7}))
  return refused(read_results, own_run)


@pytest.fixture
def a_config_that_is_cut(small_config, own_run):
  path = own_run / 'config.json'
  path.write_text(path.read_text()[:99])
  return refused(train, small_config(), workdir=own_run)


@pytest.fixture
def more_epochs_than_were_planned(small_config, finished_run):
  config = small_config({'train.epochs': 3.0})
  return refused(train, config, workdir=finished_run)


@pytest.fixture
def a_folder_of_seeds(small_config, finished_run, tmp_path):
  for seed in (0, 3):
    (tmp_path / f'seeds/seed_{seed}').mkdir(parents=True)
    shutil.copy(finished_run / 'config.json', tmp_path / f'seeds/seed_{seed}')
  return refused(train, small_config(), workdir=tmp_path / 'seeds')


@pytest.fixture
def a_tracker_that_is_not_there(monkeypatch):
  monkeypatch.setattr(kinds, '_is_installed', lambda package: False)
  return refused(kinds.parse_trackers, ['wandb'])


@pytest.fixture
def a_tracker_that_fails(warned):
  def fail(_):
    raise ConnectionError('no route to host')

  worker = Worker('mlflow', lambda: contextlib.closing(None))
  worker.call(fail)
  worker.close(seconds=10)
  return warned()


@pytest.fixture
def changed_data(small_config, own_data, finished_run):
  path = own_data / 'captions.jsonl'
  path.write_text(path.read_text().replace('train_3 shows fields', 'a field'))
  config = small_config({'data.root': str(own_data)})
  return refused(train, config, workdir=finished_run)
