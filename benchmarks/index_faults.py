"""Kills the making of an index at random times while its archive changes.

  python -m benchmarks.index_faults --kills=100
    --out=benchmarks/results/index_faults.json [--seed=0]

A folder of small pictures changes: some are new, some are others, some are gone. Then
its index is brought up to date by a program that is killed with SIGKILL at a random
moment. What it leaves must open, and each row must have the features of what its file
held once, without which it is not whole. Now and then the program is left to end: then
the index must hold what the folder holds, and nothing else, not even a stray file.
Features are mean colours: no model is needed, and every moment is one of the index.
"""

import argparse
import collections
import contextlib
import json
import math
import multiprocessing
import os
import pathlib
import platform
import sys
import tempfile
import time

import numpy as np
from absl import logging
from PIL import Image

from harma_jax.errors import UserError
from harma_jax.search_index import build, compaction
from harma_jax.search_index.index import Index, open_index
from harma_jax.search_index.shards import shard_names

SIDE = 4  # pixels of a picture, all of one colour
CHANGES = 12  # of pictures between two starts
TO_THE_END = 0.2  # of the starts
UNFINISHED = ('.*', 'shards/.*', 'catalogue/.*')


def main() -> None:
  """Prints the report, and writes it where `--out` says."""
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('--kills', type=int, default=100)
  parser.add_argument('--seed', type=int, default=0)
  parser.add_argument('--out', type=pathlib.Path)
  options = parser.parse_args()
  logging.set_verbosity(logging.ERROR)  # an index that lacks some is no news here
  with tempfile.TemporaryDirectory() as folder:
    report = campaign(pathlib.Path(folder), kills=options.kills, seed=options.seed)
  text = json.dumps(report, indent=2)
  print(text)
  if options.out:
    options.out.write_text(text + '\n')
  sys.exit(0 if report['all_whole'] else 1)


def campaign(folder: pathlib.Path, *, kills: int, seed: int) -> dict:
  """Changes pictures and kills programs until `kills` are done; gives the report."""
  rng = np.random.default_rng(seed)
  archive = Archive(folder / 'pictures', rng=rng)
  out, rows, seconds, began = folder / 'index', [], 1.0, time.monotonic()
  while sum(row['killed'] for row in rows) < kills or rows[-1]['killed']:
    archive.change()
    enough = sum(row['killed'] for row in rows) >= kills
    ends = enough or rng.random() < TO_THE_END
    row = one_start(
      archive.folder, out, seconds=math.inf if ends else rng.uniform(0, seconds)
    )
    if not row['killed']:
      seconds = 1.1 * row['seconds']
    row['problem'] = archive.problem(out, is_done=not row['killed'])
    rows.append(row)
  killed = [row for row in rows if row['killed']]
  problems = [row['problem'] for row in rows if row['problem']]
  return {
    'kills': len(killed),
    'starts': len(rows),
    'kills_during': dict(collections.Counter(row['during'] for row in killed)),
    'pictures': len(archive.colors),
    'all_whole': not problems,
    'problems': problems,
    'seconds': round(time.monotonic() - began),
    'seed': seed,
    'machine': f'{platform.machine()}, {os.cpu_count()} CPUs',
  }


class Archive:
  """A folder of pictures that changes, and the colours that each has had."""

  def __init__(self, folder: pathlib.Path, *, rng: np.random.Generator):
    self.folder, self._rng, self._number = folder, rng, 0
    self.colors, self._once = {}, collections.defaultdict(list)
    folder.mkdir(parents=True)

  def change(self) -> None:
    """Adds, replaces and removes some pictures."""
    for _ in range(CHANGES):
      names = sorted(self.colors)
      kind = self._rng.choice(['add', 'replace', 'remove'], p=[0.5, 0.3, 0.2])
      if kind == 'add' or len(names) < 2:
        self._draw(f'{self._number:05}.png')
        self._number += 1
      elif kind == 'replace':
        self._draw(str(self._rng.choice(names)))
      else:
        name = str(self._rng.choice(names))
        (self.folder / name).unlink()
        del self.colors[name]

  def _draw(self, name: str) -> None:
    color = tuple(self._rng.integers(0, 256, 3).tolist())
    Image.new('RGB', (SIDE, SIDE), color).save(self.folder / name)
    self.colors[name] = color
    self._once[name].append(color)

  def problem(self, out: pathlib.Path, *, is_done: bool) -> str:
    """What is wrong with the index of the folder; empty where it is whole."""
    try:
      index = open_index(out)
    except UserError as error:
      is_empty = 'found none in' in str(error) or not shard_names(out)
      return '' if is_empty and not is_done else str(error)
    names = [index.names[file] for file in index.file]
    if len({*names}) < len(names):
      return 'a file has several rows'
    if is_done and ({*names} != {*self.colors} or unfinished(out)):
      return 'other files than the folder, or stray ones'
    return self._problem_of_rows(index, names, is_done=is_done)

  def _problem_of_rows(self, index: Index, names: list[str], *, is_done: bool) -> str:
    for name, feature in zip(names, index.features, strict=True):
      known = [self.colors[name]] if is_done else self._once[name]
      expected = mean_color(np.array(known, np.uint8)[:, None, None])
      if np.abs(expected - feature).max(axis=1).min() > 1e-5:
        return f'{name}: the features of another picture'
    return ''


def one_start(images: pathlib.Path, out: pathlib.Path, *, seconds: float) -> dict:
  """Starts the program and kills it after some seconds, unless it ends before."""
  context = multiprocessing.get_context('forkserver')
  context.set_forkserver_preload(['harma_jax.search_index.build'])
  before = set(unfinished(out))
  program = context.Process(target=make, args=(images, out))
  program.start()
  began = time.monotonic()
  program.join(None if math.isinf(seconds) else seconds)
  program.kill()
  program.join()
  if program.exitcode not in (0, -9):
    raise RuntimeError(f'exit code {program.exitcode}')
  new = [path.parent.name for path in {*unfinished(out)} - before]
  return {
    'killed': program.exitcode != 0,
    'seconds': time.monotonic() - began,
    'during': f'writing to {new[0]}/' if new else 'other work',
  }


def make(images: pathlib.Path, out: pathlib.Path) -> None:
  """Brings the index up to date, with many small shards that are put together."""
  build.SECONDS_A_SHARD, compaction.MOST_SMALL = 0, 6
  with open(os.devnull, 'w') as silent, contextlib.redirect_stderr(silent):
    build.build_index(
      images,
      out,
      encode=mean_color,
      model={'model_sha256': 'ab' * 32, 'model_path': 'colours'},
      preprocessing={'side': SIDE},
      batch_size=4,
    )


def mean_color(images: np.ndarray) -> np.ndarray:
  """f32[n, 3], unit rows."""
  colors = images.reshape(len(images), -1, 3).mean(axis=1, dtype=np.float32) + 1
  return colors / np.linalg.norm(colors, axis=1, keepdims=True)


def unfinished(out: pathlib.Path) -> list[pathlib.Path]:
  """Files that were being written."""
  return [path for kind in UNFINISHED for path in out.glob(kind)]


if __name__ == '__main__':
  main()
