"""From the start of a command to its first line of result, beside another checkout.

  python -m benchmarks.first_lines --baseline=CHECKOUT --out=FILE.json [--rounds=5]
    [--quickstart]

`--help`, `search query` and `evaluate`, the two on a tiny run, or a whole quickstart,
that each checkout trains and indexes first. The sides take turns; a ratio is of one
round. The cache of compiled programs is filled, as after a first call. A checkout is
made by `git worktree add FOLDER COMMIT`.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

from benchmarks.stops import COMMANDS, REPOSITORY

HELP = ('main', '--help')
QUICKSTART = (
  *('main', '--config=configs/quickstart.py'),
  *('--config.data.root={root}/data', '--workdir={own}/run'),
)
TIMED = {
  '--help': HELP,
  'search query': COMMANDS['search query'].words,
  'evaluate': COMMANDS['evaluate'].words,
}


def main() -> None:
  """Prints the report, and writes it to `--out`."""
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('--baseline', type=pathlib.Path, required=True)
  parser.add_argument('--out', type=pathlib.Path, required=True)
  parser.add_argument('--rounds', type=int, default=5)
  parser.add_argument('--quickstart', action='store_true')
  options = parser.parse_args()
  with tempfile.TemporaryDirectory() as folder:
    sides = {
      name: Side(checkout.resolve(), pathlib.Path(folder) / name)
      for name, checkout in (('ours', REPOSITORY), ('baseline', options.baseline))
    }
    for side in sides.values():
      side.prepare(QUICKSTART if options.quickstart else COMMANDS['train'].words)
    seconds = {name: {'ours': [], 'baseline': []} for name in TIMED}
    for _ in range(options.rounds + 1):
      for name, words in TIMED.items():
        for side_name, side in sides.items():
          seconds[name][side_name].append(side.first_line(words))
  report = {name: summary(of) for name, of in seconds.items()}
  text = json.dumps(report | {'rounds': options.rounds}, indent=2)
  print(text)
  options.out.write_text(text + '\n')


class Side:
  """A checkout with a run and an index of its own."""

  def __init__(self, checkout: pathlib.Path, folder: pathlib.Path):
    folder.mkdir()
    self._checkout, self._folder = checkout, folder
    self._places = {'root': folder, 'own': folder, 'run': folder / 'run'}

  def prepare(self, train: tuple[str, ...]) -> None:
    """Trains, and makes an index of the pictures that it drew last."""
    self._start(train, stdout=subprocess.DEVNULL).wait()
    drawn = (self._folder / 'data').rglob('images')
    self._places['images'] = max(drawn, key=lambda path: path.stat().st_mtime)
    self._start(COMMANDS['search index'].words, stdout=subprocess.DEVNULL).wait()
    self._places['index'] = self._folder / 'i'

  def first_line(self, words: tuple[str, ...]) -> float:
    """Seconds until a command prints its first line; it is left to end."""
    begin = time.perf_counter()
    with self._start(words, stdout=subprocess.PIPE) as program:
      line = program.stdout.readline()
      seconds = time.perf_counter() - begin
      program.stdout.read()
    if not line:
      raise RuntimeError(f'{words} printed nothing')
    return seconds

  def _start(self, words: tuple[str, ...], *, stdout: int) -> subprocess.Popen:
    module, *rest = (word.format(**self._places) for word in words)
    environment = os.environ | {
      'PYTHONPATH': str(self._checkout),
      'JAX_PLATFORMS': 'cpu',
      'JAX_COMPILATION_CACHE_DIR': str(self._folder / 'compiled'),
    }
    return subprocess.Popen(
      [sys.executable, '-m', f'harma_jax.{module}', *rest],
      **{'cwd': self._checkout, 'env': environment, 'stdout': stdout},
      stderr=subprocess.DEVNULL,
    )


def summary(seconds: dict[str, list[float]]) -> dict:
  """Medians and their ratio by rounds; the first round warms up."""
  ours, theirs = (seconds[name][1:] for name in ('ours', 'baseline'))
  ratios = [one / other for one, other in zip(ours, theirs, strict=True)]
  return {
    'ours, s': round(statistics.median(ours), 3),
    'baseline, s': round(statistics.median(theirs), 3),
    'ratio': round(statistics.median(ratios), 3),
    'of the rounds': [round(ratio, 3) for ratio in ratios],
  }


if __name__ == '__main__':
  main()
