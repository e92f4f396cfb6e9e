"""From the start of a process to the end of its first step, beside another checkout.

  python -m benchmarks.start --baseline=CHECKOUT --out=FILE.json [--rounds=3]
    [--size=ViT-B-32-quickgelu] [--batch=4] [--baseline_python=PYTHON]

Both checkouts start in turn, in processes of their own: first with an empty cache of
compiled programs each, then `rounds` times with what the first start left there. The
weights are random. A checkout is made by `git worktree add FOLDER COMMIT`.
"""

import argparse
import importlib
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve()
REPOSITORY = HERE.parent.parent


def start(root: pathlib.Path, *, python: str, cache: pathlib.Path, words: list[str]):
  """Seconds until the end of the first step, by the clock and of the processor."""
  environment = os.environ | {
    'JAX_COMPILATION_CACHE_DIR': str(cache),
    'JAX_PLATFORMS': 'cpu',
    'PYTHONPATH': str(root),
  }
  command = [python, str(HERE), 'child', *words]
  begin = time.perf_counter()
  process = subprocess.Popen(
    command, env=environment, cwd=root, stdout=subprocess.PIPE, text=True
  )
  printed, _ = process.communicate()
  seconds = time.perf_counter() - begin
  if process.returncode:
    raise SystemExit(f'failed in {root}: exit code {process.returncode}')
  return {'seconds': seconds, 'cpu_seconds': json.loads(printed.splitlines()[-1])}


def run_child() -> None:
  """The step of `harma_jax.bench`, whose clock is told to stop after the first one."""
  import jax

  from harma_jax import bench, cli

  def first(step, state, arguments, **_):
    jax.block_until_ready(step(state, *next(iter(arguments))))
    used = os.times()
    print(used.user + used.system, flush=True)
    os._exit(0)

  try:
    room = importlib.import_module('harma_jax.speed.steps')
    compilation = importlib.import_module('harma_jax.devices.compilation')
  except ImportError:  # as it was up to 6b808a1
    room, compilation = bench, importlib.import_module('harma_jax.compilation')
  room.time_steps = first
  compilation.keep_compiled()
  cli.run(bench.main)


def compare(arguments: argparse.Namespace) -> dict:
  """What each side took, and the ratios of ours to theirs, round by round."""
  sides = {
    'baseline': (arguments.baseline.resolve(), arguments.baseline_python),
    'now': (REPOSITORY, sys.executable),
  }
  found = {side: [] for side in sides}
  with tempfile.TemporaryDirectory() as caches:
    for _ in range(1 + arguments.rounds):
      for side, (root, python) in sides.items():
        words = [
          f'--config={root}/configs/rsitmd.py:clip',
          f'--config.model.size={arguments.size}',
          f'--config.train.batch_size={arguments.batch}',
          *('--mode=step', '--steps=1', '--warmup=0'),
        ]
        cache = pathlib.Path(caches) / side
        found[side].append(start(root, python=python, cache=cache, words=words))
  ratios = {
    figure: [
      mine[figure] / theirs[figure]
      for mine, theirs in zip(found['now'], found['baseline'], strict=True)
    ]
    for figure in ('seconds', 'cpu_seconds')
  }
  return {
    'size': arguments.size,
    'batch': arguments.batch,
    'cpu_cores': len(os.sched_getaffinity(0)),
    'runs': found,
    'empty': {name: values[0] for name, values in ratios.items()},
    'filled': {name: statistics.median(values[1:]) for name, values in ratios.items()},
    'filled_all': {name: values[1:] for name, values in ratios.items()},
  }


def parse() -> argparse.Namespace:
  """The command line."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument('--baseline', type=pathlib.Path, required=True)
  parser.add_argument('--baseline_python', default=sys.executable)
  parser.add_argument('--out', type=pathlib.Path, required=True)
  parser.add_argument('--rounds', type=int, default=3)
  parser.add_argument('--size', default='ViT-B-32-quickgelu')
  parser.add_argument('--batch', type=int, default=4)
  return parser.parse_args()


def main() -> None:
  """Measures and writes the file."""
  arguments = parse()
  result = compare(arguments)
  arguments.out.write_text(json.dumps(result, indent=2) + '\n')
  for name in ('empty', 'filled'):
    print(name, {figure: round(value, 2) for figure, value in result[name].items()})


if __name__ == '__main__':
  if sys.argv[1:2] == ['child']:
    del sys.argv[1]
    sys.path[0] = os.getcwd()  # not the folder of this file
    run_child()
  else:
    main()
