"""A million pairs: prepared from parquet, then streamed as training does.

  python -m benchmarks.million_pairs [--pairs=1000000] [--folder=FOLDER]
    > benchmarks/results/million_pairs.json

Made pictures of 16 x 16 pixels lie in parquet of 50,000 rows each. `data prepare`
writes them on two processes, without the decoding check. A process of its own opens
the result, draws the whole order of an epoch twice, and streams batches with pixels;
its memory is noted as they pass. It compares, and stops where something differs:

- the order: the same for the same seed, every pair once, another for another seed;
- a run that resumes in the middle: the same batches, pixels included;
- two processes: their parts side by side are the batch of one.
"""

import argparse
import contextlib
import io
import itertools
import json
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

import numpy as np
from PIL import Image

from benchmarks.open_table import captions
from benchmarks.prepare import processor
from harma_jax.data.annotations import CaptionTable
from harma_jax.data.builders.archives import prepare_archives
from harma_jax.data.builders.shard_writer import Writing
from harma_jax.data.pipeline import train_batches
from harma_jax.data.pixels import PixelStore, open_pixels
from harma_jax.data.prepared import read_prepared

SIDE, DISTINCT, EACH = 16, 256, 50_000
BATCH, STEPS, NOTED = 2048, 40, 10
HEADERS = 5_000  # of images that are opened, to tell what all of them take


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--pairs', type=int, default=1_000_000)
  parser.add_argument('--folder', help='where all is made; a temporary one')
  parser.add_argument('--stream', help='streams this prepared folder and tells of it')
  options = parser.parse_args()
  if options.stream:
    print(json.dumps(stream(options.stream)))
    return
  with tempfile.TemporaryDirectory(dir=options.folder) as folder:
    root = pathlib.Path(folder)
    write_parquet(root / 'source', pairs=options.pairs)
    start = time.monotonic()
    manifest = prepare_archives(
      str(root / 'source'),
      root / 'out',
      dataset='captions',
      writing=Writing(checks=False),
      workers=2,
    )
    seconds = time.monotonic() - start
    command = [sys.executable, '-m', 'benchmarks.million_pairs']
    found = json.loads(subprocess.check_output([*command, f'--stream={root / "out"}']))
  about = {'processor': processor(), 'pairs': options.pairs}
  about |= {'shards': len(manifest['source']['shards'])}
  print(json.dumps(about | {'prepare_s': round(seconds, 1)} | found, indent=2))


def stream(root: str) -> dict:
  """What opening and streaming a prepared folder took, after all was compared."""
  start = time.monotonic()
  table = read_prepared(root, split='train')
  opened = time.monotonic() - start
  # Stands for tokens: their values are not looked at here.
  tokens = np.ones((table.n_captions, 8), np.int32)
  compare_orders(table, tokens)
  # As `open_pixels` makes it; what that takes is measured of some.
  pixels = PixelStore(table=table, side=SIDE, shape=(SIDE, SIDE))
  found = {'open_s': round(opened, 1)}
  for name in ('open_pixels_s', 'open_pixels_again_s'):
    found[name] = seconds_of_headers(table)
  return found | stream_pixels(table, tokens, pixels=pixels)


def compare_orders(table: CaptionTable, tokens: np.ndarray) -> None:
  """An epoch's rows, drawn twice and with another seed, without pixels."""
  last = table.n_captions // BATCH
  first, second, other = (
    np.concatenate(
      [
        batch['rows']
        for batch, _ in batches_of(table, tokens, seed=seed, last_step=last)
      ]
    )
    for seed in (0, 0, 1)
  )
  check(np.array_equal(first, second), 'the order of a seed is one')
  check(not np.array_equal(first, other), 'another seed has another order')
  check(len(np.unique(first)) == last * BATCH, 'no pair comes twice in an epoch')


def stream_pixels(
  table: CaptionTable, tokens: np.ndarray, *, pixels: PixelStore
) -> dict:
  """Batches with pixels: their rate, the memory as they pass, and what resumes."""
  memory, kept, start = {}, {}, time.monotonic()
  with stream_of(table, tokens, pixels=pixels, last_step=STEPS) as batches:
    for step, (batch, _) in enumerate(batches):
      kept[step] = {name: hash_of(value) for name, value in batch.items()}
      if step % NOTED == NOTED - 1:
        memory[step + 1] = resident_mib()
  rate = STEPS * BATCH / (time.monotonic() - start)
  resumed = {'first_step': STEPS - 3, 'last_step': STEPS}
  with stream_of(table, tokens, pixels=pixels, **resumed) as batches:
    for step, (batch, _) in enumerate(batches, start=STEPS - 3):
      again = {name: hash_of(value) for name, value in batch.items()}
      check(again == kept[step], f'step {step} is the same after a stop')
  compare_processes(table, tokens, pixels=pixels)
  return {
    'images_a_second': round(rate),
    'batch': BATCH,
    'memory_mib_after_steps': memory,
    'same': ['order of a seed', 'pairs of an epoch', 'resumed', 'two processes'],
  }


def compare_processes(
  table: CaptionTable, tokens: np.ndarray, *, pixels: PixelStore
) -> None:
  first, *parts = (
    next(iter(batches_of(table, tokens, pixels=pixels, last_step=1, **own)))[0]
    for own in (
      {},
      {'process_index': 0, 'process_count': 2},
      {'process_index': 1, 'process_count': 2},
    )
  )
  for name, whole in first.items():
    joined = np.concatenate([part[name] for part in parts])
    check(np.array_equal(joined, whole), f'{name} of two processes are those of one')


@contextlib.contextmanager
def stream_of(table: CaptionTable, tokens: np.ndarray, **options) -> Iterator:
  with contextlib.closing(batches_of(table, tokens, **options)) as batches:
    yield batches


def batches_of(
  table: CaptionTable, tokens: np.ndarray, *, seed: int = 0, first_step: int = 0, **more
) -> Iterator:
  return train_batches(
    table, tokens, seed=seed, batch_size=BATCH, first_step=first_step, **more
  )


def seconds_of_headers(table: CaptionTable) -> float:
  """What `open_pixels` takes of all images, by some, whose headers it keeps then."""
  from harma_jax.data.annotations import select_images

  some = select_images(table, np.arange(table.n_images) < HEADERS)
  start = time.monotonic()
  store = open_pixels(some, side=SIDE, threads=2)
  check(store.shape == (SIDE, SIDE), 'the canvas is that of the pictures')
  share = min(HEADERS, table.n_images) / table.n_images
  return round((time.monotonic() - start) / share, 1)


def check(right: bool, what: str) -> None:
  if not right:
    raise SystemExit(f'expected that {what}; it is not so')


def hash_of(values: np.ndarray) -> int:
  return hash(np.ascontiguousarray(values).tobytes())


def resident_mib() -> int:
  lines = pathlib.Path('/proc/self/status').read_text().splitlines()
  (line,) = (line for line in lines if line.startswith('VmRSS'))
  return int(line.split()[1]) // 1024


def write_parquet(root: pathlib.Path, *, pairs: int) -> None:
  import pyarrow as pa
  import pyarrow.parquet as pq

  root.mkdir()
  pictures = [picture(number) for number in range(DISTINCT)]
  texts, count = captions(pairs), -(-pairs // EACH)
  for shard in range(count):
    numbers = range(shard * EACH, min((shard + 1) * EACH, pairs))
    columns = {
      'image': [pictures[number % DISTINCT] for number in numbers],
      'filename': [f'{number:09}.png' for number in numbers],
      'caption': list(itertools.islice(texts, len(numbers))),
    }
    path = root / f'train-{shard:05}-of-{count:05}.parquet'
    pq.write_table(pa.table(columns), path, row_group_size=10_000)


def picture(number: int) -> bytes:
  pixels = np.random.default_rng(number).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
  content = io.BytesIO()
  Image.fromarray(pixels).save(content, 'PNG')
  return content.getvalue()


if __name__ == '__main__':
  main()
