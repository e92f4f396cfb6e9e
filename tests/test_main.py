"""The program as users start it: mistakes, an interruption, real images."""

import json
import os
import pathlib
import resource
import signal
import subprocess
import sys
import time

import pytest

from harma_jax.errors import UserError
from harma_jax.training import loop
from harma_jax.training.loop import train

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
TOY = '--config=benchmarks/toy.py'
LARGEST_FILE = 100_000  # bytes; a checkpoint of the tiny run has 130,000


@pytest.fixture
def start(environment):
  """`start(*words)`: the program, running in the repository's folder."""
  programs = []

  def make(*words, module='harma_jax.main', cwd=REPOSITORY):
    command = [sys.executable, '-m', module, *map(str, words)]
    pipe = subprocess.PIPE
    program = subprocess.Popen(
      command, cwd=cwd, env=environment, stdout=pipe, stderr=pipe, text=True
    )
    programs.append(program)
    return program

  yield make
  for program in programs:
    program.kill()
    program.communicate()


def ended(program, *, code):
  """Standard output and error of a program that ends with `code`."""
  stdout, stderr = program.communicate(timeout=170)
  assert program.returncode == code, stderr
  assert 'Traceback' not in stderr
  return stdout, stderr


def rows_of(workdir):
  path = workdir / 'metrics.jsonl'
  lines = path.read_text().split('\n')[:-1] if path.exists() else []
  return [json.loads(line) for line in lines]


def wait_for(happened, *, program, seconds=120):
  """Waits until `happened()`, as long as the program runs."""
  end = time.monotonic() + seconds
  while not happened():
    assert program.poll() is None, program.communicate()[1]
    assert time.monotonic() < end, 'waited too long'
    time.sleep(0.02)


@pytest.mark.parametrize(
  ('words', 'expected'),
  [
    (['--config=configs/rsitmd.py', '--config.train.epoch=3'], 'Did you mean epochs?'),
    ([f'--config={REPOSITORY}/configs/rsitmd.py'], 'data.root=FOLDER'),
    ([TOY, '--dry_run', '--seeds=0,1'], 'found --seeds and --dry_run. All seeds'),
    ([TOY, '--tracker=wandbb'], "found 'wandbb'. Did you mean wandb?"),
    ([TOY, '--dry_run', '--quick'], 'expected --dry_run_topology beside it'),
    ([TOY, '--dry_run_topology=v5ee:2x4'], "found 'v5ee:2x4'. Did you mean v5e?"),
    ([TOY, '--dry_run_topology=tpu:3'], 'multiple of the 3 devices; found 8'),
  ],
)
def test_a_mistake_is_one_line_and_exit_code_2(start, tmp_path, words, expected):
  cwd = tmp_path if str(REPOSITORY) in words[0] else REPOSITORY
  words = [*words, f'--workdir={tmp_path}/run']
  stdout, stderr = ended(start(*words, cwd=cwd), code=2)
  assert stdout == ''
  (line,) = stderr.splitlines()
  assert line.startswith('error: ')
  assert expected in line
  assert not (tmp_path / 'run').exists()


def test_a_stopped_run_goes_on_with_the_same_command(start, small_data, tmp_path):
  command = [
    TOY,
    f'--config.data.root={small_data}',
    f'--workdir={tmp_path}/run',
    '--config.train.epochs=40',
    '--config.evaluation.every_epochs=10',
    '--config.checkpoint.every_steps=10',
  ]
  workdir, last = tmp_path / 'run', 0
  for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 0)):
    program = start(*command)
    rows = len(rows_of(workdir))
    wait_for(lambda rows=rows: len(rows_of(workdir)) >= rows + 15, program=program)
    program.send_signal(number)
    stdout, stderr = ended(program, code=code)
    assert stderr.splitlines()[-1] == 'Interrupted. The same command resumes.'
    assert f'resuming after step {last} of 120' in stderr or not last
    assert 'chance' not in stdout
    assert last < rows_of(workdir)[-1]['step'] < 120
    last = rows_of(workdir)[-1]['step']

  # Nothing that was done is done again.
  stdout, stderr = ended(start(*command), code=0)
  assert f'resuming after step {last} of 120' in stderr
  assert 'step 120 of 120' in stderr
  for word in ('val: recall in %', 'test: recall in %', 'chance', 'step 0'):
    assert word in stdout
  rows = rows_of(workdir)
  steps = [row['step'] for row in rows if row['kind'] == 'train']
  assert steps == list(range(1, 121))
  evaluations = [
    (row['step'], row['split']) for row in rows if row['kind'] == 'evaluation'
  ]
  best = json.loads((workdir / 'results.json').read_text())['best_step']
  assert len(set(evaluations)) == len(evaluations)
  of_val = {(step, 'val') for step in (0, 30, 60, 90, 120)}
  assert set(evaluations) == of_val | {(0, 'test'), (best, 'test')}


def test_an_interrupted_dry_run_leaves_nothing_and_does_not_promise_to_resume(
  start, small_data, tmp_path
):
  data = f'--config.data.root={small_data}'
  program = start(TOY, data, f'--workdir={tmp_path}/run', '--dry_run')
  wait_for(lambda: list(tmp_path.glob('.run-dry-run-*')), program=program)
  program.send_signal(signal.SIGTERM)
  _, stderr = ended(program, code=143)
  assert stderr.splitlines()[-1] == 'Interrupted. Nothing is left of the dry run.'
  assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not hasattr(resource, 'prlimit'), reason='Linux only')
def test_a_disk_that_takes_no_more_is_one_message_and_the_last_step_stays(
  start, small_data, tmp_path
):
  command = [
    TOY,
    f'--config.data.root={small_data}',
    f'--workdir={tmp_path}/run',
    '--config.train.epochs=50',
    '--config.evaluation.every_epochs=50',
    '--config.checkpoint.every_steps=40',
  ]
  program, workdir = start(*command), tmp_path / 'run'
  saved = workdir / 'checkpoints/40'
  wait_for(saved.is_dir, program=program)
  limit = LARGEST_FILE, resource.RLIM_INFINITY
  resource.prlimit(program.pid, resource.RLIMIT_FSIZE, limit)
  _, stderr = ended(program, code=2)
  *_, line = stderr.splitlines()
  assert line.startswith('error: Expected a work folder that can be written; ')
  assert f'found {workdir}: File too large. ' in line
  assert stderr.count('error: ') == 1
  last_saved = max(int(p.name) for p in saved.parent.glob('[0-9]*') if p.name.isdigit())
  assert last_saved >= 40

  _, stderr = ended(start(*command), code=0)
  assert f'resuming after step {last_saved} of 150' in stderr
  steps = [row['step'] for row in rows_of(workdir) if row['kind'] == 'train']
  assert steps == list(range(1, 151))


def test_rsitmd_trains_and_evaluates_on_tiff_images(start, data_dir, tmp_path):
  words = [
    '--config=configs/rsitmd.py:tiny',
    f'--config.data.root={data_dir}/rsitmd_sample',
    f'--workdir={tmp_path}',
    '--config.model.size=tiny-16',
    '--config.data.context_length=16',  # one length to compile for
    '--config.train.batch_size=16',
    '--config.evaluation.batch_size=64',
    '--config.pretrain.train.epochs=0.06',
    '--config.train.epochs=0.06',
    '--config.log_every=1',
  ]
  stdout, stderr = ended(start(*words), code=0)
  assert 'val: recall in % of 40 images and 200 captions' in stdout
  assert 'test: recall in % of 40 images and 200 captions' in stdout
  assert 'step 4 of 4' in stderr
  results = json.loads((tmp_path / 'results.json').read_text())
  evaluated = start(
    *(f'--workdir={tmp_path}', '--split=test', '--json'), module='harma_jax.evaluate'
  )
  stdout, _ = ended(evaluated, code=0)
  again = json.loads(stdout)['test']
  assert again['chance'] == results['splits']['test']['chance']
  selected = list(results['splits']['test'].values())[-1]
  assert {name: again['selected'][name] for name in selected} == pytest.approx(selected)


@pytest.fixture
def refused(small_config, tmp_path, monkeypatch):
  """`refused(changes)`: the message of a run that ends before weights are made."""

  def run(changes):
    monkeypatch.setattr(loop, 'start_state', lambda *_, **__: pytest.fail('began'))
    with pytest.raises(UserError) as error:
      train(small_config(changes), workdir=tmp_path / 'run')
    assert not (tmp_path / 'run').exists()
    return str(error.value)

  return run


@pytest.fixture
def own_data(write_data, tmp_path):
  """A data set of `write_data` to be spoiled."""
  return write_data(tmp_path / 'data')


def replace_row(data, row, **fields):
  path = data / 'captions.jsonl'
  rows = [json.loads(line) for line in path.read_text().splitlines()]
  rows[row] |= fields
  path.write_text(''.join(json.dumps(row) + '\n' for row in rows))


@pytest.mark.parametrize(
  ('changes', 'words'),
  [
    ({'data.root': ''}, ['--config.data.root=FOLDER']),
    ({'data.root': '/no/such/folder'}, ['/no/such/folder', '--config.data.root']),
    ({'data.annotations': 'none.json'}, ['none.json', 'captions.jsonl']),
    ({'data.images': 'pictures'}, ['pictures', '--config.data.images']),
    ({'data.test_split': 'final'}, ["'final'", 'train (24 rows)', 'test (12 rows)']),
    ({'train.batch_size': 32}, ['train.batch_size', '24', 'found 32']),
    ({'train.batch_size': 12}, ['train.batch_size', '8 devices', 'found 12']),
    ({'init': '/no/weights.npz'}, ['init: ', "'/no/weights.npz'"]),
    ({'model.size': 'huge'}, ['model.size', "'huge'", 'ViT-B-32']),
  ],
  ids=lambda value: ','.join(map(str, value)) if isinstance(value, dict) else '',
)
def test_a_mistake_in_the_config_ends_before_anything_is_made(refused, changes, words):
  message = refused(changes)
  for word in words:
    assert word in message


def test_a_folder_without_annotations_is_told_what_is_wanted(refused, own_data):
  (own_data / 'captions.jsonl').unlink()
  message = refused({'data.root': str(own_data)})
  for word in (str(own_data), '*_train.json', 'dataset*.json', 'found: images/'):
    assert word in message


@pytest.mark.parametrize('row', [0, 25, -1], ids=['train', 'val', 'test'])
def test_an_image_that_is_missing_is_named(refused, own_data, row):
  replace_row(own_data, row, image='nowhere.png')
  message = refused({'data.root': str(own_data)})
  assert 'the first is nowhere.png' in message
  assert '--config.data.images' in message


@pytest.mark.parametrize('row', [3, 25], ids=['train', 'val'])
def test_an_empty_caption_is_named_by_its_line(refused, own_data, row):
  replace_row(own_data, row, caption='  ')
  message = refused({'data.root': str(own_data)})
  assert f'captions.jsonl, line {row + 1}: expected a caption' in message


@pytest.mark.parametrize('name', ['train_7.png', 'val_3.png', 'test_5.png'])
@pytest.mark.parametrize('content', ['truncated', 'text'])
def test_an_unreadable_image_is_named(refused, own_data, name, content):
  path = own_data / 'images' / name
  path.write_bytes(path.read_bytes()[:900] if content == 'truncated' else b'no image')
  message = refused({'data.root': str(own_data)})
  assert str(path) in message
  assert 'Replace the file' in message


def test_a_run_that_does_not_keep_images_goes_on_when_the_unreadable_is_replaced(
  small_config, own_data, tmp_path
):
  config = small_config({'data.root': str(own_data), 'data.cache': 'stream'})
  path = own_data / 'images/train_7.png'
  content = path.read_bytes()
  path.write_bytes(content[:900])
  with pytest.raises(UserError, match=r'train_7\.png: expected a readable image'):
    train(config, workdir=tmp_path / 'run')
  path.write_bytes(content)
  train(config, workdir=tmp_path / 'run')
  steps = [row['step'] for row in rows_of(tmp_path / 'run') if row['kind'] == 'train']
  assert steps == list(range(1, 7))


def test_another_config_leaves_a_run_as_it_is(small_config, finished_run, monkeypatch):
  files = [path for path in finished_run.rglob('*') if path.is_file()]
  before = {path: path.read_bytes() for path in files}
  monkeypatch.setattr(loop, 'start_state', lambda *_, **__: pytest.fail('began'))
  words = r'learning_rate was 0\.02, now 0\.5.*--workdir'
  with pytest.raises(UserError, match=words):
    train(small_config({'optimizer.learning_rate': 0.5}), workdir=finished_run)
  after = [path for path in finished_run.rglob('*') if path.is_file()]
  assert {path: path.read_bytes() for path in after} == before


def test_a_file_in_the_place_of_the_work_folder_is_left(
  small_config, tmp_path, monkeypatch
):
  (tmp_path / 'file').write_text('precious')
  monkeypatch.setattr(loop, 'start_state', lambda *_, **__: pytest.fail('began'))
  with pytest.raises(UserError, match=f'can be written; found {tmp_path}/file'):
    train(small_config(), workdir=tmp_path / 'file')
  assert (tmp_path / 'file').read_text() == 'precious'


def workers_of(program):
  """The processes that any thread of `program` has started."""
  threads = pathlib.Path(f'/proc/{program.pid}/task').glob('*/children')
  found = [int(number) for path in threads for number in path.read_text().split()]
  assert len(found) >= 2
  return found


def wait_for_end(numbers, *, seconds=60):
  """Waits until none of these processes is there."""
  end = time.monotonic() + seconds
  while any(pathlib.Path(f'/proc/{number}').exists() for number in numbers):
    assert time.monotonic() < end, 'processes are left'
    time.sleep(0.05)


@pytest.fixture
def start_with_workers(start, small_data, tmp_path):
  """`start_with_workers(root=...)`: a long run of the toy that reads in two workers."""

  def make(root=small_data):
    return start(
      TOY,
      f'--config.data.root={root}',
      f'--workdir={tmp_path}/run',
      '--config.data.cache=stream',
      '--config.data.workers=2',
      '--config.train.epochs=2000',
      '--config.evaluation.every_epochs=1000',
    )

  return make


@pytest.mark.slow
def test_ctrl_c_reaches_workers_too_and_the_run_still_saves(
  start_with_workers, tmp_path
):
  program = start_with_workers()
  workdir = tmp_path / 'run'
  wait_for(lambda: len(rows_of(workdir)) >= 3, program=program)
  workers = workers_of(program)
  for number in (*workers, program.pid):  # as a terminal does
    os.kill(number, signal.SIGINT)
  _, stderr = ended(program, code=130)
  assert stderr.splitlines()[-1] == 'Interrupted. The same command resumes.'
  assert any((workdir / 'checkpoints').iterdir())
  assert 'leaked' not in stderr
  wait_for_end(workers)


def test_workers_do_not_outlive_a_run_that_is_killed(start_with_workers, tmp_path):
  program = start_with_workers()
  wait_for(lambda: len(rows_of(tmp_path / 'run')) >= 3, program=program)
  workers = workers_of(program)
  program.kill()
  program.wait()
  wait_for_end(workers)


def test_an_unreadable_image_that_a_worker_finds_is_one_line(
  start_with_workers, own_data
):
  path = own_data / 'images/train_7.png'
  path.write_bytes(path.read_bytes()[:900])
  _, stderr = ended(start_with_workers(own_data), code=2)
  assert stderr.splitlines()[-1].startswith(f'error: {path}: expected a readable image')
