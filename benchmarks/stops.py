"""Sends Ctrl-C and SIGTERM to every command at random moments, and looks how it ends.

  python -m benchmarks.stops --signals=300 --out=benchmarks/results/stops.json
    [--checkout=FOLDER] [--seed=0] [--jobs=2]

Each command is left to end twice, the second time tells how long it takes; then it gets
one signal at a random moment of that time. How it ends is right where its exit code is
the documented one, it is soon, no traceback and no crash of native code is seen, and no
shared memory is left. One that Python itself ends, because nothing of the command has
begun to listen, is counted apart. A training that was stopped is started again until it
ends, and must have the metrics of the one that was left to. `--checkout` runs the
package of another folder, to compare with an older one.
"""

import argparse
import collections
import concurrent.futures
import dataclasses
import json
import os
import pathlib
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time

import numpy as np

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
SCENES = (
  '--config.data.scenes.style=summer',
  *(f'--config.data.scenes.{split}=16' for split in ('train', 'val', 'test')),
)
RUN = (
  '--config=benchmarks/toy.py',
  *SCENES,
  '--config.train.epochs=3',
  '--config.evaluation.every_epochs=1',
  '--config.checkpoint.every_steps=2',
)
WITHIN = 15.0  # seconds; the promise is 5, of a machine that does nothing else
LAST = 1.0  # seconds that a process may take to end by itself when all is done
WORDS = ('Traceback', 'Segmentation', 'Fatal Python', 'core dumped', 'terminate called')
MEMORY = pathlib.Path('/dev/shm')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Command:
  """A command line; `{run}`, `{own}` and the like in it are folders.

  Attributes:
    words: what follows `python -m harma_jax.`.
    terminated: its exit code after SIGTERM.
    resumes: whether the same command goes on and ends alike.
    lasts: seconds after which one is stopped that does not end; 0 for one that does.
  """

  words: tuple[str, ...]
  terminated: int = 143
  resumes: bool = False
  lasts: float = 0.0


TRAIN = ('main', *RUN, '--config.data.root={root}/data', '--workdir={own}/run')
COMMANDS = {
  'train': Command(words=TRAIN, terminated=0, resumes=True),
  'train, workers': Command(
    words=(*TRAIN, '--config.data.workers=1', '--config.data.cache=stream'),
    terminated=0,
    resumes=True,
  ),
  'train --seeds': Command(words=(*TRAIN, '--seeds=0,1'), terminated=0, resumes=True),
  'train, harmonized': Command(
    words=(
      *TRAIN,
      *('--config.harmonization.pair=captions', '--config.data.captions_per_image=2'),
    ),
    terminated=0,
    resumes=True,
  ),
  'train --dry_run': Command(words=(*TRAIN, '--dry_run')),
  'evaluate': Command(words=('evaluate', '--workdir={run}')),
  'report': Command(words=('report', '--workdir={run}', '--out={own}/page.html')),
  'conflicts': Command(words=('conflicts', '--workdir={harmonized}')),
  'compare': Command(words=('compare', '{run}', '{run}')),
  'export': Command(
    words=('export', '--workdir={run}', '--format=open_clip', '--out={own}/export')
  ),
  'search index': Command(
    words=('search', 'index', '--workdir={run}', '--images={images}', '--out={own}/i')
  ),
  'search query': Command(words=('search', 'query', '--index={index}', 'a river')),
  'search export': Command(
    words=('search', 'export', '--index={index}', '--out={own}/i.parquet')
  ),
  'search serve': Command(
    words=('search', 'serve', '--index={index}', '--port=0'), lasts=4.0
  ),
  'classify': Command(words=('classify', '--workdir={run}', '--images={classes}')),
  'bench': Command(words=('bench', *RUN, '--steps=5')),
  'data check': Command(words=('data', 'check', '--source={source}')),
  'data prepare': Command(
    words=(
      *('data', 'prepare', '--dataset=captions', '--source={source}', '--out={own}/p'),
    )
  ),
}


def main() -> None:
  """Prints the report, and writes it where `--out` says."""
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('--signals', type=int, default=300)
  parser.add_argument('--seed', type=int, default=0)
  parser.add_argument('--jobs', type=int, default=2)
  parser.add_argument('--checkout', type=pathlib.Path, default=REPOSITORY)
  parser.add_argument('--out', type=pathlib.Path)
  options = parser.parse_args()
  with tempfile.TemporaryDirectory() as folder:
    campaign = Campaign(pathlib.Path(folder), checkout=options.checkout.resolve())
    rows = campaign.send(options.signals, seed=options.seed, jobs=options.jobs)
  report = report_of(rows, seed=options.seed)
  text = json.dumps(report, indent=2)
  print(text)
  if options.out:
    options.out.write_text(text + '\n')
  sys.exit(1 if report['wrong'] else 0)


class Campaign:
  """What the commands work on, made once, and how they are started."""

  def __init__(self, folder: pathlib.Path, *, checkout: pathlib.Path):
    self._root, self._checkout, self._count = folder, checkout, 0
    self._lock = threading.Lock()
    self._places = {
      'root': folder,
      'run': folder / 'train/run',
      'harmonized': folder / 'train_harmonized/run',
    }
    self._seconds, self._metrics = {}, {}
    self._prepare()

  def _prepare(self) -> None:
    """Runs each command to its end: what later ones need comes first."""
    for name, command in COMMANDS.items():
      own = self._root / name.replace(' ', '_').replace(',', '')
      self._left_to_end(name, command, own)
      again = own.with_name(f'{own.name}_again')  # with what was compiled before
      self._seconds[name] = self._left_to_end(name, command, again)
      self._metrics[name] = metrics_below(own)
      if name == 'train':
        self._make_pictures()
      if name == 'search index':
        self._places['index'] = own / 'i'

  def _left_to_end(self, name: str, command: Command, own: pathlib.Path) -> float:
    """Runs a command to its end in a new folder; the seconds that it takes."""
    own.mkdir()
    begin = time.monotonic()
    program = self.start(command, own)
    if command.lasts:
      time.sleep(command.lasts)
      program.terminate()
    ended = program.wait()
    if ended not in (0, 1) and not command.lasts:
      print((own / 'stderr').read_text(), file=sys.stderr)
      raise RuntimeError(f'{name} ended with {ended}')
    return time.monotonic() - begin

  def _make_pictures(self) -> None:
    """Folders of what was drawn for the run: images, classes, a data set."""
    (drawn,) = (self._root / 'data').rglob('images')
    self._places['source'] = drawn.parent
    self._places['images'] = drawn
    self._places['classes'] = self._root / 'classes'
    for number, picture in enumerate(sorted(drawn.rglob('*.png'))):
      of_class = self._places['classes'] / ('forest', 'river')[number % 2]
      of_class.mkdir(parents=True, exist_ok=True)
      shutil.copyfile(picture, of_class / picture.name)

  def start(self, command: Command, own: pathlib.Path) -> subprocess.Popen:
    """Starts a command as a user does; its output goes into its own folder."""
    places = self._places | {'own': own}
    words = [word.format(**places) for word in command.words]
    environment = os.environ | {
      'PYTHONPATH': str(self._checkout),
      'JAX_PLATFORMS': 'cpu',
      'JAX_COMPILATION_CACHE_DIR': str(self._root / f'compiled{self._count % 3}'),
    }
    with (own / 'stdout').open('w') as out, (own / 'stderr').open('w') as err:
      return subprocess.Popen(
        [sys.executable, '-m', f'harma_jax.{words[0]}', *words[1:]],
        **{'cwd': self._checkout, 'env': environment, 'stdout': out, 'stderr': err},
      )

  def send(self, count: int, *, seed: int, jobs: int) -> list[dict]:
    """Sends `count` signals; a row for each."""
    rows = []
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
      for row in pool.map(self._one, range(count), [seed] * count):
        rows.append(row)
        print(f'{len(rows)} of {count}', end='\r', file=sys.stderr, flush=True)
    return rows

  def _one(self, number: int, seed: int) -> dict:
    rng = np.random.default_rng([seed, number])
    name = list(COMMANDS)[number % len(COMMANDS)]
    which = signal.SIGINT if rng.random() < 0.6 else signal.SIGTERM
    own = self._root / f'{number:04}'
    own.mkdir()
    with self._lock:
      self._count += 1
      if number % 40 == 0:  # compilations are moments, too
        shutil.rmtree(self._root / f'compiled{self._count % 3}', ignore_errors=True)
    program = self.start(COMMANDS[name], own)
    moment = rng.uniform(0.05, self._seconds[name])
    time.sleep(moment)
    has_ended = program.poll() is not None
    program.send_signal(which)
    asked = time.monotonic()
    try:
      code = program.wait(timeout=60)
    except subprocess.TimeoutExpired:
      program.kill()
      code = program.wait()
    row = {
      'command': name,
      'signal': which.name,
      'moment': round(moment, 2),
      'code': code,
      'seconds': round(time.monotonic() - asked, 2),
      'has_ended': has_ended,
    }
    said = (own / 'stderr').read_text() + (own / 'stdout').read_text()
    row['early'] = is_early(row, said=said)
    row['problem'] = problem(row, said=said) or self._problem_of_resume(name, own)
    if row['problem']:
      row['said'] = said.splitlines()[-3:]
      print(row, file=sys.stderr, flush=True)
    shutil.rmtree(own)
    return row

  def _problem_of_resume(self, name: str, own: pathlib.Path) -> str:
    """Starts what resumes again, and compares; empty where all is well."""
    command = COMMANDS[name]
    left = [path.name for path in own.iterdir() if path.name.startswith('.')]
    if left:
      return f'left behind: {left}'
    if not command.resumes:
      return ''
    if self.start(command, own).wait() != 0:
      return 'the next start fails: ' + (own / 'stderr').read_text()[-300:]
    return '' if metrics_below(own) == self._metrics[name] else 'other metrics'


def problem(row: dict, *, said: str) -> str:
  """What is wrong with an end; empty where it is as documented."""
  command = COMMANDS[row['command']]
  stopped = 130 if row['signal'] == 'SIGINT' else command.terminated
  if row['early']:
    return ''
  found = [word for word in WORDS if word in said]
  if found:
    return f'said {found}'
  if row['code'] < 0:
    return f'died of signal {-row["code"]}'
  if row['code'] not in (0, 1, stopped):
    return f'exit code {row["code"]}'
  if went_on(row) and row['seconds'] > LAST:
    return 'went on to its end'
  if row['seconds'] > WITHIN:
    return f'took {row["seconds"]} s'
  return ''


def went_on(row: dict) -> bool:
  """Whether a command ended by itself after the signal had come."""
  stopped = 130 if row['signal'] == 'SIGINT' else COMMANDS[row['command']].terminated
  return row['code'] in (0, 1) and row['code'] != stopped and not row['has_ended']


def is_early(row: dict, *, said: str) -> bool:
  """Whether Python itself obeyed the signal: nothing of ours had begun."""
  died = row['code'] == -signal.Signals[row['signal']]
  return died or said.rstrip().endswith('KeyboardInterrupt')


def metrics_below(folder: pathlib.Path) -> dict[str, list[dict]]:
  """The rows of all runs in a folder, but for their speed."""
  files = sorted(folder.rglob('metrics.jsonl'))
  return {str(file.relative_to(folder)): rows_of(file) for file in files}


def rows_of(file: pathlib.Path) -> list[dict]:
  """The rows of a run, but for their speed."""
  rows = map(json.loads, file.read_text().splitlines())
  return [{k: v for k, v in row.items() if k != 'pairs_per_second'} for row in rows]


def report_of(rows: list[dict], *, seed: int) -> dict:
  """What a campaign found: a line for each command, and all that was wrong."""
  of_command = collections.defaultdict(list)
  for row in rows:
    of_command[row['command']].append(row)
  return {
    'signals': len(rows),
    'wrong': sum(bool(row['problem']) for row in rows),
    'shared memory left': sorted(path.name for path in MEMORY.glob('psm_*')),
    'commands': {
      name: {
        'signals': len(some),
        'wrong': sum(bool(row['problem']) for row in some),
        'before it listened': sum(row['early'] for row in some),
        'after its end': sum(row['has_ended'] for row in some),
        'went on to its end': sum(went_on(row) for row in some),
        'codes': dict(collections.Counter(str(row['code']) for row in some)),
        'median seconds': round(statistics.median(r['seconds'] for r in some), 2),
        'most seconds': max(row['seconds'] for row in some),
      }
      for name, some in of_command.items()
    },
    'problems': [row for row in rows if row['problem']],
    'seed': seed,
    'machine': f'{platform.machine()}, {os.cpu_count()} CPUs',
  }


if __name__ == '__main__':
  main()
