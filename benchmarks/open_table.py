"""How long a large table of captions takes to open, and how much memory.

  python -m benchmarks.open_table [--rows=5000000] [--form=csv] [--folder=FOLDER]

A table of SkyScript's columns is made in a folder of its own, with an empty file for
each image: as many names as rows, in six folders, captions of 4 to 20 words. A process
of its own then opens it as training does, with every file looked for, and tells its
seconds and the most memory that it held. The folder is removed in the end.
"""

import argparse
import csv
import json
import pathlib
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

import numpy as np

FORMS = ('csv', 'tsv', 'jsonl', 'parquet')
FOLDERS = 6
WORDS = (
  *('a satellite image of', 'building', 'road', 'surface', 'asphalt', 'residential'),
  *('with', 'roof', 'shape', 'farmland', 'near', 'water', 'surrounded by', 'parking'),
)


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--rows', type=int, default=5_000_000)
  parser.add_argument('--form', choices=FORMS, default='csv')
  parser.add_argument('--folder', help='where the table is made; a temporary one')
  parser.add_argument('--open', help='opens this folder and prints what it took')
  options = parser.parse_args()
  if options.open:
    print(json.dumps(open_table(options.open)))
    return
  with tempfile.TemporaryDirectory(dir=options.folder) as folder:
    root = pathlib.Path(folder)
    write_images(root, rows=options.rows)
    write_table(root, rows=options.rows, form=options.form)
    size = (root / f'train.{options.form}').stat().st_size
    command = [sys.executable, '-m', 'benchmarks.open_table', f'--open={root}']
    found = json.loads(subprocess.check_output(command))
    about = {'form': options.form, 'rows': options.rows, 'table_mb': size // 1_000_000}
    print(json.dumps(about | found))


def open_table(root: str) -> dict[str, float]:
  """Opens the training split of a folder; seconds and GiB, the libraries' apart."""
  from harma_jax.data.annotations import fingerprint, load_captions

  before = peak_gib()
  start, cpu = time.monotonic(), time.process_time()
  table = load_captions(root, split='train')
  opened, cpu = time.monotonic(), time.process_time() - cpu
  peak = peak_gib()
  fingerprint(table)
  return {
    'images': table.n_images,
    'captions': table.n_captions,
    'open_s': round(opened - start, 1),
    'open_cpu_s': round(cpu, 1),
    'peak_gib': round(peak, 2),
    'libraries_gib': round(before, 2),
    'fingerprint_s': round(time.monotonic() - opened, 1),
    'peak_with_fingerprint_gib': round(peak_gib(), 2),
  }


def peak_gib() -> float:
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def write_images(root: pathlib.Path, *, rows: int) -> None:
  for folder in range(FOLDERS):
    (root / 'images' / f'images{folder + 2}').mkdir(parents=True)
  for row in range(rows):
    (root / 'images' / name_of(row)).touch()


def name_of(row: int) -> str:
  return f'images{row % FOLDERS + 2}/w{100_000_000 + row}_US_{row % 40}.jpg'


def captions(rows: int) -> Iterator[str]:
  """Sentences of 4 to 20 words, the same for each call."""
  rng = np.random.default_rng(0)
  for start in range(0, rows, 10_000):
    counts = rng.integers(4, 21, 10_000)
    words = rng.integers(0, len(WORDS), (10_000, 20)).tolist()
    for row in range(min(10_000, rows - start)):
      yield ' '.join(WORDS[word] for word in words[row][: counts[row]])


def write_table(root: pathlib.Path, *, rows: int, form: str) -> None:
  path = root / f'train.{form}'
  pairs = ((name_of(row), text) for row, text in enumerate(captions(rows)))
  if form == 'parquet':
    write_parquet(path, pairs)
  elif form == 'jsonl':
    with path.open('w') as file:
      for name, text in pairs:
        file.write(json.dumps({'filepath': name, 'title': text}) + '\n')
  else:
    with path.open('w', newline='') as file:
      table = csv.writer(file, delimiter='\t' if form == 'tsv' else ',')
      table.writerow(['filepath', 'title', 'title_multi_objects'])
      table.writerows((name, text, f'{text}, and more') for name, text in pairs)


def write_parquet(path: pathlib.Path, pairs: Iterator[tuple[str, str]]) -> None:
  import pyarrow as pa
  import pyarrow.parquet as pq

  names, texts = zip(*pairs, strict=True)
  columns = {'filepath': names, 'title': texts}
  pq.write_table(pa.table(columns), path, row_group_size=100_000)


if __name__ == '__main__':
  main()
