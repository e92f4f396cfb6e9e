"""The JAX step beside the PyTorch one, on one machine, in turn.

  python -m benchmarks.compare --out=FOLDER/NAME [--torch_python=PYTHON] [--rounds=3]
    [--steps=5] [--warmup=2] [--size=ViT-B-32] [--platforms=cpu,accelerator]
    [--jax_flags='--config.model.layers=unroll ...']
    [--train_flags='--config.data.root=FOLDER ...'] [--baseline=CHECKOUT]

Writes NAME.json and NAME.md. Every run is a process of its own; the sides take turns,
and a ratio is the median over the rounds of two runs that stand side by side. What the
machine has no device for, or no data, stands as not measured. With --baseline the JAX
step of another checkout is a side too (`git worktree add FOLDER COMMIT`).
"""

import argparse
import dataclasses
import json
import os
import pathlib
import shlex
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
JAX, TRAIN, BEFORE = 'jax', 'train', 'before'
FASTER_THAN_BEFORE = 1.15
NO_DATA = 'no data set given (--train_flags)'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
  """One comparison.

  Attributes:
    platform: `cpu` or `accelerator`.
    batch: pairs.
    tokens: of a caption.
    dtype: of the JAX step's arithmetic.
    speed: variant of the baseline -> how many times as fast JAX is meant to be.
    utilisation: the share of the matmul peak that the model's FLOP are meant to take.
    training: the speed of training over that of the step alone that is meant.
  """

  platform: str
  batch: int
  tokens: int
  dtype: str
  speed: dict[str, float]
  utilisation: float | None = None
  training: float | None = None


_ACCELERATOR = {
  'platform': 'accelerator',
  'tokens': 77,
  'dtype': 'bfloat16',
  'speed': {'eager': 3.0, 'compiled': 1.25},
  'utilisation': 0.4,
  'training': 0.95,
}
CASES = (
  Case(platform='cpu', batch=32, tokens=32, dtype='float32', speed={'eager': 1.0}),
  Case(platform='cpu', batch=32, tokens=77, dtype='float32', speed={'eager': 1.0}),
  Case(batch=428, **_ACCELERATOR),
  Case(batch=2048, **_ACCELERATOR),
)

# What a side found, or why it could not be run.
Found = dict | str
Run = Callable[[Case, str], Found]


def sides_of(case: Case, *, with_data: bool) -> list[str]:
  """What a round runs: the step, the baselines and, with data, training."""
  trains = with_data and case.training is not None
  return [JAX, *case.speed, *([TRAIN] if trains else [])]


def measure(case: Case, *, run: Run, rounds: int, with_data: bool) -> dict:
  """Side -> what it found in each round; the sides take turns."""
  found = {side: [] for side in sides_of(case, with_data=with_data)}
  for _ in range(rounds):
    for side, results in found.items():
      results.append(run(case, side))
  return found


def rows_of(case: Case, found: dict[str, list[Found]]) -> list[dict]:
  """The rows of the table: one for each target of a case."""
  rows = [
    _row(
      case,
      'speed over the baseline'
      if variant == BEFORE
      else f'speed over PyTorch {variant}',
      _ratios(found[JAX], found[variant], figure=_speed),
      target,
      jax=_median(found[JAX], figure=_speed),
      torch=_median(found[variant], figure=_speed),
    )
    for variant, target in case.speed.items()
  ]
  if case.utilisation is not None:
    shares = _figures(found[JAX], lambda result: result['model_flop_utilisation'])
    rows.append(_row(case, 'model FLOP utilisation', shares, case.utilisation))
  if case.training is not None:
    trained = found.get(TRAIN, [NO_DATA])
    shares = _figures(trained, lambda result: 1 - result['share_waiting_for_input'])
    rows.append(_row(case, 'training over the step alone', shares, case.training))
  return rows


def missing_rows(case: Case, *, reason: str) -> list[dict]:
  """The rows of a case that is not measured."""
  found = {side: [reason] for side in sides_of(case, with_data=True)}
  return rows_of(case, found)


def _row(case: Case, what: str, values: list[float] | str, target: float, **sides):
  missing = isinstance(values, str)
  return {
    'what': what,
    'platform': case.platform,
    'batch': case.batch,
    'tokens': case.tokens,
    'dtype': case.dtype,
    'value': None if missing else statistics.median(values),
    'values': [] if missing else values,
    'target': target,
    'pairs_per_second': sides,
    'not_measured': values if missing else None,
  }


def _speed(result: dict) -> float:
  return result['pairs_per_second']['median']


def _figures(
  results: Iterable[Found], figure: Callable[[dict], float | None]
) -> list[float] | str:
  """The figure of every result, or the first reason why there is none."""
  figures = [r if isinstance(r, str) else figure(r) for r in results]
  reasons = [f for f in figures if isinstance(f, str)]
  if None in figures:
    reasons.append('the backend does not count FLOP')
  return reasons[0] if reasons else figures


def _ratios(ours, theirs, *, figure) -> list[float] | str:
  """The figure of each of our results over that of theirs in the same round."""
  ours, theirs = _figures(ours, figure), _figures(theirs, figure)
  if isinstance(ours, str) or isinstance(theirs, str):
    return ours if isinstance(ours, str) else theirs
  return [mine / other for mine, other in zip(ours, theirs, strict=True)]


def _median(results, *, figure) -> float | None:
  figures = _figures(results, figure)
  return None if isinstance(figures, str) else statistics.median(figures)


def markdown(rows: list[dict], *, about: dict) -> str:
  """A page with the table; `about` says on what and how it was measured."""
  head = ('what', 'device', 'batch', 'tokens', 'dtype', 'JAX', 'PyTorch')
  lines = [
    '# The JAX step and the PyTorch step',
    '',
    *(f'- {name}: {value}' for name, value in about.items()),
    '',
    '| ' + ' | '.join((*head, 'measured', 'target')) + ' |',
    '|' + '---|' * (len(head) + 2),
    *(_line(row) for row in rows),
    '',
    'JAX and PyTorch: pairs per second, medians. Measured: the median over the rounds, '
    'the least and the greatest in brackets.',
  ]
  return '\n'.join(lines) + '\n'


def _line(row: dict) -> str:
  speeds = row['pairs_per_second']
  cells = [row['what'], row['platform'], row['batch'], row['tokens'], row['dtype']]
  for side in (JAX, 'torch'):
    cells.append('' if speeds.get(side) is None else f'{speeds[side]:,.1f}')
  if row['value'] is None:
    cells.append(f'not measured: {row["not_measured"]}')
  else:
    least, greatest = min(row['values']), max(row['values'])
    cells.append(f'{row["value"]:.2f} ({least:.2f} to {greatest:.2f})')
  cells.append(f'{row["target"]:.2f}')
  return '| ' + ' | '.join(map(str, cells)) + ' |'


def command(case: Case, side: str, *, arguments: argparse.Namespace) -> list[str]:
  """The command line of a side; it prints one JSON object."""
  count = [f'--steps={arguments.steps}', f'--warmup={arguments.warmup}']
  if side not in (JAX, TRAIN, BEFORE):
    script = str(REPOSITORY / 'benchmarks/torch_baseline.py')
    device = 'cpu' if case.platform == 'cpu' else 'cuda'
    shape = [f'--size={arguments.size}', f'--batch={case.batch}']
    return [
      *(arguments.torch_python, script, f'--device={device}', f'--variant={side}'),
      *(*shape, f'--tokens={case.tokens}', *count),
    ]
  fields = {
    'model.size': arguments.size,
    'model.dtype': case.dtype,
    'train.batch_size': case.batch,
    'data.context_length': case.tokens,
  }
  return [
    *(sys.executable, '-m', 'harma_jax.bench', *count),
    f'--config={root_of(side, arguments=arguments) / "configs/common.py"}',
    f'--mode={"train" if side == TRAIN else "step"}',
    *(f'--config.{name}={value}' for name, value in fields.items()),
    *shlex.split(arguments.jax_flags),
    *shlex.split(arguments.train_flags if side == TRAIN else ''),
  ]


def root_of(side: str, *, arguments: argparse.Namespace) -> pathlib.Path:
  """The checkout whose code a side runs."""
  return arguments.baseline if side == BEFORE else REPOSITORY


def run_process(
  words: list[str], *, platform: str, root: pathlib.Path = REPOSITORY
) -> Found:
  """What a command prints, or the last line of its complaint."""
  environment = os.environ | {'PYTHONPATH': str(root)}
  if platform == 'cpu':
    environment['JAX_PLATFORMS'] = 'cpu'
  done = subprocess.run(
    words, env=environment, cwd=root, capture_output=True, text=True
  )
  if done.returncode:
    lines = done.stderr.strip().splitlines() or [f'exit code {done.returncode}']
    return f'failed: {lines[-1]}'
  return json.loads(done.stdout)


def has_accelerator() -> bool:
  """Asked in a process of its own: a device may be held by one only."""
  script = 'import jax; print(jax.default_backend())'
  words = [sys.executable, '-c', script]
  return subprocess.check_output(words, text=True).strip() != 'cpu'


def compare(
  arguments: argparse.Namespace, *, cases: Iterable[Case]
) -> tuple[list[dict], list[dict]]:
  """The rows of all cases, and all that the sides found."""

  def run(case, side):
    words = command(case, side, arguments=arguments)
    print(shlex.join(words), file=sys.stderr)
    root = root_of(side, arguments=arguments)
    return run_process(words, platform=case.platform, root=root)

  if arguments.baseline:
    cases = [_beside_baseline(case) for case in cases]
  rows, runs = [], []
  accelerator = has_accelerator()
  for case in cases:
    if case.platform not in arguments.platforms.split(','):
      rows += missing_rows(case, reason='not asked for')
    elif case.platform == 'accelerator' and not accelerator:
      rows += missing_rows(case, reason='no accelerator here')
    else:
      settings = {'rounds': arguments.rounds, 'with_data': bool(arguments.train_flags)}
      found = measure(case, run=run, **settings)
      rows += rows_of(case, found)
      runs.append({'case': dataclasses.asdict(case), 'found': found})
  return rows, runs


def _beside_baseline(case: Case) -> Case:
  return dataclasses.replace(case, speed=case.speed | {BEFORE: FASTER_THAN_BEFORE})


def about(arguments: argparse.Namespace, runs: list[dict]) -> dict[str, str]:
  """What was measured, and on what."""
  results = [
    result
    for run in runs
    for found in run['found'].values()
    for result in found
    if isinstance(result, dict)
  ]
  named = {
    name: ', '.join(sorted({result[name] for result in results})) or 'none'
    for name in ('framework', 'device')
  }
  return {
    'size': arguments.size,
    **named,
    'CPU cores': str(len(os.sched_getaffinity(0))),
    'rounds': f'{arguments.rounds}, of {arguments.steps} steps each',
    'more flags of JAX': arguments.jax_flags or 'none',
  }


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
  """The command line."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--out', type=pathlib.Path, required=True)
  parser.add_argument('--torch_python', default=sys.executable)
  parser.add_argument('--rounds', type=int, default=3)
  parser.add_argument('--steps', type=int, default=5)
  parser.add_argument('--warmup', type=int, default=2)
  parser.add_argument('--size', default='ViT-B-32')
  parser.add_argument('--platforms', default='cpu,accelerator')
  parser.add_argument('--jax_flags', default='')
  parser.add_argument('--train_flags', default='')
  parser.add_argument('--baseline', type=pathlib.Path)
  return parser.parse_args(arguments)


def main(arguments: argparse.Namespace, *, cases: Iterable[Case] = CASES) -> None:
  """Measures and writes both files."""
  rows, runs = compare(arguments, cases=cases)
  what = about(arguments, runs)
  whole = {'about': what, 'rows': rows, 'runs': runs}
  arguments.out.with_suffix('.json').write_text(json.dumps(whole, indent=2) + '\n')
  text = markdown(rows, about=what)
  arguments.out.with_suffix('.md').write_text(text)
  print(text)


if __name__ == '__main__':
  main(parse())
