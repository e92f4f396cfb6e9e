"""How fast `data prepare` reads tar and parquet, beside copies and webdataset.

  python -m benchmarks.prepare [--pictures=20000] [--rounds=5] [--folder=FOLDER]
    > benchmarks/results/prepare.json

The same JPEGs (256 x 256, drawn) lie in tar shards as img2dataset writes them and in
parquet as the hub has it. In each round, on two cores, take turns:

- `copy`: the shards copied by the system, a file after the other;
- `sha256`: the checksums of the shards alone, which `data prepare` takes of its files;
- `records`: as many pictures written as records alone, without reading any;
- `prepare`: `data prepare` without the decoding check, checksums included, on one
  process and on two;
- `webdataset reads`: its reader alone, which writes nothing; of tar only;
- `webdataset reshards`: its reader and its writer of tar, as a user would repack.

Rates are MB of shards a second, of the clock and of the processor (the system's part
too), and ratios are of one round. The two processes are forked from one that has
imported for them in the first round; what they take of the processor is not known here.
"""

import argparse
import functools
import io
import json
import os
import pathlib
import resource
import shutil
import statistics
import sys
import tarfile
import tempfile
import time

import numpy as np
from PIL import Image

from benchmarks.open_table import captions

SHARDS = 8
DISTINCT = 128  # pictures, which repeat
SIDE = 256


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--pictures', type=int, default=20_000)
  parser.add_argument('--rounds', type=int, default=5)
  parser.add_argument('--folder', help='where shards are made; a temporary one')
  options = parser.parse_args()
  if hasattr(os, 'sched_setaffinity'):
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
  with tempfile.TemporaryDirectory(dir=options.folder) as folder:
    root = pathlib.Path(folder)
    write_shards(root, count=options.pictures)
    rounds = {form: [] for form in ('tar', 'parquet')}
    for number in range(options.rounds + 1):
      for form, found in rounds.items():
        round_of = functools.partial(run_round, form=form, count=options.pictures)
        found.append(round_of(root / form, out=root / 'out'))
        print(number, form, found[-1], file=sys.stderr, flush=True)
    sizes = {form: size_of(root / form) for form in rounds}
  found = {  # the first round warms up
    form: {by: summary([each[by] for each in of[1:]]) for by in of[0]}
    for form, of in rounds.items()
  }
  about = {'processor': processor(), 'cores': 2, 'pictures': options.pictures}
  about |= {'shards': SHARDS, 'rounds': options.rounds}
  print(json.dumps(about | {'megabytes': sizes, 'rates': found}, indent=2))


def run_round(
  source: pathlib.Path, *, out: pathlib.Path, form: str, count: int
) -> dict[str, dict[str, float]]:
  """MB a second of each side, by `clock` and by `processor`."""
  sides = {
    'copy': lambda: copy(source, out),
    'sha256': lambda: hash_all(source),
    'records': lambda: write_records(out, count=count),
  }
  for workers in (1, 2):
    sides[f'prepare, {workers}'] = lambda n=workers: prepare(source, out, workers=n)
  if form == 'tar':
    sides['webdataset reads'] = lambda: read_with_webdataset(source)
    sides['webdataset reshards'] = lambda: reshard(source, out)
  size, rates = size_of(source), {'clock': {}, 'processor': {}}
  for name, side in sides.items():
    shutil.rmtree(out, ignore_errors=True)
    clock, cpu = time.monotonic(), processor_seconds()
    side()
    rates['clock'][name] = size / (time.monotonic() - clock)
    if name != 'prepare, 2':
      rates['processor'][name] = size / max(processor_seconds() - cpu, 0.01)
  return rates


def processor_seconds() -> float:
  """Of this process and of those that it has waited for, the system's part too."""
  both = (
    resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
  )
  return sum(used.ru_utime + used.ru_stime for used in both)


def copy(source: pathlib.Path, out: pathlib.Path) -> None:
  out.mkdir()
  for path in sorted(source.iterdir()):
    shutil.copyfile(path, out / path.name)


def hash_all(source: pathlib.Path) -> None:
  from harma_jax.data.builders.manifest import checksum

  for path in sorted(source.iterdir()):
    checksum(path)


def write_records(out: pathlib.Path, *, count: int) -> None:
  from array_record.python.array_record_module import ArrayRecordWriter

  from harma_jax.data.builders.shard_writer import OPTIONS

  pictures = distinct()
  out.mkdir()
  for shard in range(SHARDS):
    writer = ArrayRecordWriter(f'{out}/{shard}', OPTIONS)
    for number in numbers_of(shard, count=count):
      writer.write(pictures[number % DISTINCT])
    writer.close()


def prepare(source: pathlib.Path, out: pathlib.Path, *, workers: int) -> None:
  # Not above: new processes import this module, and what `harma-jax` starts does not.
  from harma_jax.data.builders.archives import prepare_archives
  from harma_jax.data.builders.shard_writer import Writing

  writing = Writing(checks=False)
  prepare_archives(
    str(source), out, dataset='captions', writing=writing, workers=workers
  )


def read_with_webdataset(source: pathlib.Path) -> None:
  for _ in samples_of(source):
    pass


def reshard(source: pathlib.Path, out: pathlib.Path) -> None:
  import webdataset as wds

  out.mkdir()
  with wds.ShardWriter(f'{out}/%05d.tar', maxcount=5000, verbose=0) as writer:
    for sample in samples_of(source):
      writer.write(sample)


def samples_of(source: pathlib.Path):
  import webdataset as wds

  paths = [str(path) for path in sorted(source.iterdir())]
  return wds.WebDataset(paths, shardshuffle=False)


def summary(rounds: list[dict[str, float]]) -> dict[str, dict]:
  """Medians and ranges of rates, and of the ratios of `prepare` to the others."""
  rates = {name: spread([each[name] for each in rounds]) for name in rounds[0]}
  ratios = {
    f'{ours} / {other}': spread([each[ours] / each[other] for each in rounds])
    for ours in rates
    for other in rates
    if ours.startswith('prepare') and not other.startswith('prepare')
  }
  return {'MB a second': rates, 'ratios': ratios}


def spread(values: list[float]) -> dict[str, float]:
  """Three digits of the median, the least and the most."""
  found = {'median': statistics.median(values), 'least': min(values)}
  return {name: float(f'{value:.3g}') for name, value in found.items()} | {
    'most': float(f'{max(values):.3g}')
  }


def write_shards(root: pathlib.Path, *, count: int) -> None:
  import pyarrow as pa
  import pyarrow.parquet as pq

  for form in ('tar', 'parquet'):
    (root / form).mkdir()
  pictures, texts = distinct(), captions(count)
  for shard in range(SHARDS):
    rows = [
      {'image': {'bytes': pictures[number % DISTINCT], 'path': f'{number:09}.jpg'}}
      | {'caption': next(texts)}
      for number in numbers_of(shard, count=count)
    ]
    write_tar(root / f'tar/{shard:05}.tar', rows)
    name = f'train-{shard:05}-of-{SHARDS:05}.parquet'
    pq.write_table(
      pa.Table.from_pylist(rows),
      root / 'parquet' / name,
      row_group_size=100,
      compression='none',
    )


def write_tar(path: pathlib.Path, rows: list[dict]) -> None:
  """As img2dataset does it: the picture, what is known of it, the caption."""
  with tarfile.open(path, 'w') as tar:
    for row in rows:
      image, caption = row['image'], row['caption']
      key = image['path'].removesuffix('.jpg')
      fields = json.dumps({'caption': caption, 'key': key, 'status': 'success'})
      for ending, content in (
        ('jpg', image['bytes']),
        ('json', fields.encode()),
        ('txt', caption.encode()),
      ):
        info = tarfile.TarInfo(f'{key}.{ending}')
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))


def numbers_of(shard: int, *, count: int) -> range:
  """Of the pictures of a shard."""
  return range(shard * count // SHARDS, (shard + 1) * count // SHARDS)


@functools.cache
def distinct() -> list[bytes]:
  return [picture(number) for number in range(DISTINCT)]


def picture(number: int) -> bytes:
  """A JPEG of about the size that one of an aerial scene has."""
  coarse = np.random.default_rng(number).integers(0, 256, (64, 64, 3), np.uint8)
  image = Image.fromarray(coarse).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
  content = io.BytesIO()
  image.save(content, 'JPEG', quality=90)
  return content.getvalue()


def size_of(folder: pathlib.Path) -> float:
  """MB of a folder's files."""
  return round(sum(path.stat().st_size for path in folder.iterdir()) / 1e6, 1)


def processor() -> str:
  """What the system calls it."""
  lines = pathlib.Path('/proc/cpuinfo').read_text().splitlines()
  names = [line.partition(':')[2] for line in lines if line.startswith('model name')]
  return names[0].strip() if names else ''


if __name__ == '__main__':
  main()
