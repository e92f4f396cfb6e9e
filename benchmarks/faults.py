"""Kills a short run at random times until nothing can be lost by it any more.

  python -m benchmarks.faults --kills=200 --out=benchmarks/results/faults.json
    [--folder=FOLDER] [--seed=0]

A run of drawn scenes that saves before every second step is started, killed with
SIGKILL at a random moment and started again with the same command, until it ends; then
another begins. Every run that ends is compared, bit by bit, with one that was never
killed: the last state, the best weights, all metrics. With the same `--folder` a
campaign that was stopped itself goes on.
"""

import argparse
import collections
import contextlib
import json
import math
import os
import pathlib
import platform
import signal
import subprocess
import sys
import tempfile
import time

import jax
import numpy as np

from harma_jax.building.model import build_model
from harma_jax.building.params import read_workdir
from harma_jax.building.step import build_optimizer, state_shapes
from harma_jax.rundir.checkpoint import Checkpoints
from harma_jax.rundir.workdir import read_config

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
RUN = (
  '--config=benchmarks/toy.py',
  '--config.data.scenes.style=summer',
  '--config.data.scenes.train=16',
  '--config.data.scenes.val=8',
  '--config.data.scenes.test=8',
  '--config.train.batch_size=16',
  '--config.train.epochs=8',
  '--config.evaluation.batch_size=8',
  '--config.evaluation.every_epochs=2',
  '--config.checkpoint.every_steps=2',
)
STEPS = 40
AFTER = 4  # moments after the last step
START_SHARE = 0.25  # of the kills; the others come while it trains
REFERENCE, KILLS = 'reference', 'kills.jsonl'
UNFINISHED = '*orbax-checkpoint-tmp*'


def main() -> None:
  """Prints the report, and writes it where `--out` says."""
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('--kills', type=int, default=200)
  parser.add_argument('--seed', type=int, default=0)
  parser.add_argument('--folder', type=pathlib.Path)
  parser.add_argument('--out', type=pathlib.Path)
  options = parser.parse_args()
  with contextlib.ExitStack() as stack:
    folder = options.folder
    if folder is None:
      folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
    report = campaign(folder.resolve(), kills=options.kills, seed=options.seed)
  text = json.dumps(report, indent=2)
  print(text)
  if options.out:
    options.out.write_text(text + '\n')
  sys.exit(0 if report['all_identical'] else 1)


def campaign(folder: pathlib.Path, *, kills: int, seed: int) -> dict:
  """Kills and starts again until `kills` are done and the last run has ended.

  Args:
    folder: of the runs and of the account `kills.jsonl`.
    kills: how many.
    seed: of their moments.

  Returns:
    The report.
  """
  folder.mkdir(parents=True, exist_ok=True)
  reference = folder / REFERENCE
  if not (reference / 'results.json').exists():
    append(folder / KILLS, {'reference': True} | one_start(reference, rng=None))
  while True:
    rows = read_rows(folder / KILLS)
    number = sum('killed' in row for row in rows)
    workdir = folder / f'run{sum("identical" in row for row in rows)}'
    if number >= kills and not workdir.exists():
      return report(rows, seed=seed)
    rng = np.random.default_rng([seed, len(rows)]) if number < kills else None
    # The latest: other work on the machine comes and goes.
    start_seconds = [row['start_seconds'] for row in rows if row['start_seconds']][-1]
    found = one_start(workdir, rng=rng, start_seconds=start_seconds)
    if 'killed' not in found:
      found['identical'] = not differences(workdir)
    append(folder / KILLS, found)


def one_start(
  workdir: pathlib.Path,
  *,
  rng: np.random.Generator | None,
  start_seconds: float = 0.0,
) -> dict:
  """Starts the run and kills it at a random moment, unless it ends before.

  Args:
    workdir: of the run.
    rng: draws the moment; None to let the run end.
    start_seconds: that a start takes.

  Returns:
    A row of the account.
  """
  life = Life(workdir)
  before = unfinished(workdir)
  program = start(workdir)
  if rng is None:
    watch(life, program)
  else:
    watch(life, program, **moment(rng, workdir=workdir, start_seconds=start_seconds))
    program.kill()
  printed, _ = program.communicate()
  if program.returncode not in (0, -signal.SIGKILL):
    raise RuntimeError(f'exit code {program.returncode}:\n{printed}')
  life.look()
  row = {'seconds': life.seconds, 'start_seconds': life.start_seconds}
  if program.returncode == 0:
    return row
  phase = 'start' if life.start_seconds is None else 'training'
  return row | {
    'killed': 'saving' if unfinished(workdir) - before else phase,
    'repeated_steps': max((life.steps or 0) - last_saved(workdir), 0),
  }


class Life:
  """What can be seen of a start from outside.

  Attributes:
    steps: of the last row of a step; None before this start has dropped the rows that
      are to be made again.
    start_seconds: until the first row of a step of its own; None before.
  """

  def __init__(self, workdir: pathlib.Path):
    self._path = workdir / 'metrics.jsonl'
    self._before = self._file()
    self._began, self._first = time.monotonic(), None
    self.steps = self.start_seconds = None

  @property
  def seconds(self) -> float:
    """Since the start."""
    return time.monotonic() - self._began

  @property
  def step_seconds(self) -> float:
    """That a step takes, from those of this start; 0 before two are there."""
    if self._first is None or self.steps == self._first:
      return 0.0
    return (self.seconds - self.start_seconds) / (self.steps - self._first)

  def look(self) -> None:
    """Reads the rows."""
    if self._file() == self._before:
      return
    steps = [row['step'] for row in read_rows(self._path) if row['kind'] == 'train']
    steps = max(steps, default=0)
    if self._first is None and self.steps is not None and steps > self.steps:
      self._first, self.start_seconds = steps, self.seconds
    self.steps = steps

  def _file(self) -> int | None:
    return self._path.stat().st_ino if self._path.exists() else None


def moment(
  rng: np.random.Generator, *, workdir: pathlib.Path, start_seconds: float
) -> dict[str, float]:
  """A random moment of a start, as `watch` takes it.

  While it trains it is counted in steps, since seconds would be others whenever the
  machine has other work: a step of those that are left, and a share of two steps, in
  which there is a save. A step after the last lets the run end.
  """
  if rng.random() < START_SHARE:
    return {'seconds': rng.uniform(0, start_seconds)}
  least = min(last_saved(workdir) + 1, STEPS)
  step = rng.integers(least, STEPS + AFTER, endpoint=True)
  return {'step': step, 'further': 2 * rng.random()}


def watch(
  life: Life,
  program: subprocess.Popen,
  *,
  seconds: float = math.inf,
  step: float = math.inf,
  further: float = 0.0,
) -> None:
  """Waits for the end of a program, at most `seconds` or till `further` than `step`."""
  while program.poll() is None and life.seconds < seconds:
    life.look()
    if life.steps is not None and life.steps >= step:
      time.sleep(further * life.step_seconds)
      return
    time.sleep(0.005)


def start(workdir: pathlib.Path) -> subprocess.Popen:
  """The run as a user starts it, on one device, compiled fast."""
  data = f'--config.data.root={workdir.parent / "data"}'
  command = [sys.executable, '-m', 'harma_jax.main', *RUN, data]
  environment = os.environ | {
    'JAX_PLATFORMS': 'cpu',
    'XLA_FLAGS': '--xla_backend_optimization_level=0',
    'JAX_COMPILATION_CACHE_DIR': str(workdir.parent / 'compiled'),
    'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0',
  }
  return subprocess.Popen(
    [*command, f'--workdir={workdir}'],
    cwd=REPOSITORY,
    env=environment,
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
  )


def unfinished(workdir: pathlib.Path) -> set[tuple[str, int]]:
  """The folders of saves that have not ended, each with what tells it from others."""
  found = [*workdir.glob(UNFINISHED), *workdir.glob(f'checkpoints/{UNFINISHED}')]
  return {(path.name, path.stat().st_ino) for path in found}


def last_saved(workdir: pathlib.Path) -> int:
  """The last step that is saved whole; 0 where none is."""
  names = (path.name for path in workdir.glob('checkpoints/*'))
  return max((int(name) for name in names if name.isdecimal()), default=0)


def differences(workdir: pathlib.Path) -> list[str]:
  """What of an ended run is not bit by bit that of the run that nobody killed."""
  reference = workdir.parent / REFERENCE
  pairs = {
    'last state': (last_state(workdir), last_state(reference)),
    'best weights': (read_workdir(workdir), read_workdir(reference)),
  }
  different = [
    name for name, (tree, other) in pairs.items() if not all_equal(tree, other)
  ]
  rows, of_reference = (metrics_of(each) for each in (workdir, reference))
  return different + (['metrics'] if rows != of_reference else [])


def all_equal(tree, other) -> bool:
  """Whether two trees have the same arrays."""
  return jax.tree.all(jax.tree.map(np.array_equal, tree, other))


def last_state(workdir: pathlib.Path):
  """The state after the last step, the optimizer's included."""
  config = read_config(workdir)
  optimizer, _ = build_optimizer(config, total_steps=STEPS)
  device = jax.sharding.SingleDeviceSharding(jax.devices('cpu')[0])
  shapes = jax.tree.map(
    lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=device),
    state_shapes(config, build_model(config), optimizer),
  )
  with contextlib.closing(Checkpoints(workdir)) as checkpoints:
    return checkpoints.restore(STEPS, shapes)


def metrics_of(workdir: pathlib.Path) -> list[dict]:
  """The rows of a run but for their speed."""
  rows = read_rows(workdir / 'metrics.jsonl')
  return [{k: v for k, v in row.items() if k != 'pairs_per_second'} for row in rows]


def read_rows(path: pathlib.Path) -> list[dict]:
  """The whole rows of a file; none where it is not there."""
  lines = path.read_text().split('\n')[:-1] if path.exists() else []
  return [json.loads(line) for line in lines]


def append(path: pathlib.Path, row: dict) -> None:
  """Adds a row and shows it."""
  print(row, file=sys.stderr, flush=True)
  with path.open('a') as file:
    file.write(json.dumps(row) + '\n')


def report(rows: list[dict], *, seed: int) -> dict:
  """What a campaign found, from its account."""
  killed = [row for row in rows if 'killed' in row]
  ended = [row['identical'] for row in rows if 'identical' in row]
  repeated = [row['repeated_steps'] for row in killed]
  return {
    'kills': len(killed),
    'starts': len(killed) + len(ended),
    'runs_ended': len(ended),
    'runs_identical': sum(ended),
    'all_identical': all(ended),
    'kills_during': dict(collections.Counter(row['killed'] for row in killed)),
    'steps_of_a_run': STEPS,
    'repeated_steps': sum(repeated),
    'most_repeated_steps': max(repeated, default=0),
    'seconds': round(sum(row['seconds'] for row in rows)),
    'seed': seed,
    'jax': jax.__version__,
    'machine': f'{platform.machine()}, {os.cpu_count()} CPUs',
  }


if __name__ == '__main__':
  main()
