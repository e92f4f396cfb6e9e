"""How fast large scenes become tiles for a model, beside rasterio's windows alone.

  python -m benchmarks.read_scenes [--side=10980] [--tile=256] [--threads=2] [--out=F]

Draws a scene, writes it as JPEG 2000 as Sentinel-2's true-colour pictures are (blocks
of 1,024 pixels, lossy), as a cloud-optimised GeoTIFF of 8 and one of 16 bits, and reads
the same windows of each in three ways, each in a process of its own: by
`scene.read(window=...)` of rasterio, from as many threads, each with the file open for
itself; and by `read_rows`, which also stretches, once as tiles are handed on where
devices resize them, once resized as on a CPU. Prints millions of pixels a second, and a
second of the processor, which other programs disturb less; the ratio of either to
rasterio's, side by side, with the lowest and highest; and the peak memory.
"""

import argparse
import concurrent.futures
import functools
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import threading
import time

import numpy as np
import rasterio
from rasterio import shutil
from rasterio.windows import Window

from harma_jax.search_index.files import tile_boxes
from harma_jax.search_index.reader import read_rows

SIDE = 224  # of what a model sees
FORMATS = ('jpeg2000', 'cog8', 'cog16')
WAYS = ('rasterio', 'as cut', 'resized')
RATES, PEAK = ('by the clock', 'by the processor'), 'peak'
ROWS_AT_ONCE = 1024


def main() -> None:
  """Prints a row for each format; `--measure` is what its processes run."""
  parser = argparse.ArgumentParser()
  parser.add_argument('--side', type=int, default=10_980)
  parser.add_argument('--tile', type=int, default=256)
  parser.add_argument('--threads', type=int, default=2)
  parser.add_argument('--repeats', type=int, default=3)
  parser.add_argument('--formats', nargs='+', default=FORMATS, choices=FORMATS)
  parser.add_argument('--folder', help='keeps the scenes, and takes those there')
  parser.add_argument('--out', help='a file for all numbers, JSON')
  parser.add_argument('--measure', nargs=2)
  options = parser.parse_args()
  if options.measure:
    print(json.dumps(measure(*options.measure, options=options)))
    return
  with tempfile.TemporaryDirectory() as temporary:
    folder = pathlib.Path(options.folder or temporary)
    print(''.join(f'{word:>22}' for word in ('scene', *WAYS)))
    found = {}
    for name in options.formats:
      path = write_scene(folder, name, side=options.side)
      found[name] = compare(path, options=options)
      print_row(name, found[name])
  if options.out:
    about = {name: getattr(options, name) for name in ('side', 'tile', 'threads')}
    words = json.dumps(about | {'scenes': found}, indent=2)
    pathlib.Path(options.out).write_text(words + '\n')


def print_row(name: str, ways: dict[str, dict]) -> None:
  """Medians and the range of ratios, by the clock and by the processor."""
  print(
    f'{name:>22}{"".join(f"{way[PEAK] / 2**20:18.0f} MiB" for way in ways.values())}'
  )
  for kind in RATES:
    cells = []
    for way in ways.values():
      ratios = np.divide(way[kind], ways['rasterio'][kind])
      low, middle, high = np.quantile(ratios, (0, 0.5, 1))
      cells.append(f'{np.median(way[kind]):.1f} {middle:.2f} ({low:.2f}-{high:.2f})')
    print(''.join(f'{cell:>22}' for cell in (kind, *cells)), flush=True)


def compare(path: pathlib.Path, *, options) -> dict[str, dict]:
  """Rates and highest peak memory of each way, one run after the other."""
  ways = {way: {kind: [] for kind in RATES} | {PEAK: 0} for way in WAYS}
  settings = [f'--{name}={getattr(options, name)}' for name in ('tile', 'threads')]
  program = [sys.executable, '-m', 'benchmarks.read_scenes', *settings]
  for _ in range(options.repeats):
    for name, way in ways.items():
      done = subprocess.run(
        [*program, '--measure', name, str(path)], check=True, stdout=subprocess.PIPE
      )
      found = json.loads(done.stdout.splitlines()[-1])
      for kind in RATES:
        way[kind].append(found[kind])
      way[PEAK] = max(way[PEAK], found[PEAK])
  return ways


def measure(way: str, path: str, *, options) -> dict:
  """Millions of pixels a second by both clocks, and peak memory in bytes."""
  cut = functools.partial(tile_boxes, tile=options.tile, stride=options.tile)
  read = {
    'rasterio': read_plainly,
    'as cut': functools.partial(read_as_rows, as_cut=(options.tile,)),
    'resized': read_as_rows,
  }[way]
  clocks = time.perf_counter, time.process_time
  starts = [clock() for clock in clocks]
  pixels = read(path, cut=cut, threads=options.threads)
  rates = [
    pixels / (clock() - start) / 1e6
    for clock, start in zip(clocks, starts, strict=True)
  ]
  return dict(zip(RATES, rates, strict=True)) | {PEAK: peak_memory()}


def peak_memory() -> int:
  """Of this program in bytes; `ru_maxrss` would count what started it too."""
  status = pathlib.Path('/proc/self/status').read_text()
  return int(re.search(r'VmHWM:\s+(\d+) kB', status)[1]) * 1024


def read_plainly(path: str, *, cut, threads: int) -> int:
  """Reads all windows, in their order, and counts their pixels."""
  opened = threading.local()

  def read(box):
    if not hasattr(opened, 'scene'):
      opened.scene = rasterio.open(path)
    found = opened.scene.read((1, 2, 3), window=Window(*box))
    return found.shape[1] * found.shape[2]

  with rasterio.Env(GDAL_NUM_THREADS=1), rasterio.open(path) as scene:
    boxes = cut(scene.width, scene.height).tolist()
  with concurrent.futures.ThreadPoolExecutor(threads, initializer=_alone) as pool:
    return sum(pool.map(read, boxes))


def _alone() -> None:
  """GDAL's codecs take one thread in each of ours."""
  rasterio.Env(GDAL_NUM_THREADS=1).__enter__()


def read_as_rows(path: str, *, cut, threads: int, as_cut=()) -> int:
  """Reads and stretches all tiles, resizes others, and counts pixels of the file."""
  settings = {'side': SIDE, 'threads': threads, 'as_cut': as_cut}
  rows = read_rows([pathlib.Path(path)], cut=cut, **settings)
  return sum(int(found.boxes[:, 2:].prod(1).sum()) for _, found in rows)


def write_scene(folder: pathlib.Path, name: str, *, side: int) -> pathlib.Path:
  """The file of a scene of one of `FORMATS`, made unless it is there."""
  path = folder / f'{name}-{side}.{"jp2" if name == "jpeg2000" else "tif"}'
  if path.exists():
    return path
  plain = folder / f'plain-{side}.tif'
  dtype = 'uint16' if name == 'cog16' else 'uint8'
  shape = {'width': side, 'height': side, 'count': 3, 'dtype': dtype}
  place = rasterio.transform.from_origin(600_000, 5_100_000, 10, 10)
  where = {'crs': 'EPSG:32631', 'transform': place, 'photometric': 'RGB'}
  with rasterio.open(plain, 'w', driver='GTiff', tiled=True, **shape, **where) as scene:
    draw(scene, high=3000 if dtype == 'uint16' else 255)
  if name == 'jpeg2000':
    how = {'driver': 'JP2OpenJPEG', 'BLOCKXSIZE': 1024, 'BLOCKYSIZE': 1024}
    shutil.copy(plain, path, QUALITY=20, REVERSIBLE='NO', **how)
  else:
    shutil.copy(plain, path, driver='COG', COMPRESS='DEFLATE', PREDICTOR='YES')
  plain.unlink()
  return path


def draw(scene, *, high: int) -> None:
  """Fills a dataset with fields of colour, smooth within, and some noise."""
  rng = np.random.default_rng(0)
  side = scene.width
  coarse = rng.uniform(0.1, 0.9, (3, side // 64 + 2, side // 64 + 2)).astype('f4')
  columns = np.arange(side) / 64
  left, right = columns.astype(int), (columns % 1).astype('f4')
  for top in range(0, side, ROWS_AT_ONCE):
    height = min(ROWS_AT_ONCE, side - top)
    rows = np.arange(top, top + height) / 64
    upper, lower = rows.astype(int), (rows % 1).astype('f4')[:, None]
    for band in range(3):
      lines = coarse[band][upper] * (1 - lower) + coarse[band][upper + 1] * lower
      smooth = lines[:, left] * (1 - right) + lines[:, left + 1] * right
      noise = rng.normal(0, 0.02, smooth.shape).astype('f4')
      found = np.clip((smooth + noise) * high, 1, high)
      place = Window(0, top, side, height)
      scene.write(found.astype(scene.dtypes[0]), band + 1, window=place)


if __name__ == '__main__':
  main()
