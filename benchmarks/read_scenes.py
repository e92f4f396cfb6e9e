"""How fast large scenes become tiles for a model, beside rasterio's windows alone.

  python -m benchmarks.read_scenes [--side=10980] [--tile=256] [--threads=2]

Draws a scene, writes it as JPEG 2000 as Sentinel-2's true-colour pictures are (blocks
of 1,024 pixels, lossy), as a cloud-optimised GeoTIFF of 8 and one of 16 bits, and reads
the same windows of each twice, in a process of its own: by `scene.read(window=...)` of
rasterio, from as many threads, each with the file open for itself; and by `read_rows`,
which also stretches and resizes. Prints millions of pixels a second, their ratio, and
the peak memory of each process.
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
  parser.add_argument('--measure', nargs=2)
  options = parser.parse_args()
  if options.measure:
    print(json.dumps(measure(*options.measure, options=options)))
    return
  with tempfile.TemporaryDirectory() as temporary:
    folder = pathlib.Path(options.folder or temporary)
    print(f'{"scene":10}{"rasterio":>12}{"read_rows":>12}{"ratio":>8}   peak memory')
    for name in options.formats:
      path = write_scene(folder, name, side=options.side)
      print_row(name, compare(path, options=options))


def print_row(name: str, rows: dict[str, dict]) -> None:
  """Medians of the rates; the ratio is of runs side by side."""
  plain, ours = (rows[how] for how in ('rasterio', 'read_rows'))
  ratio = np.median(np.divide(ours['rates'], plain['rates']))
  rates = [f'{np.median(row["rates"]):.1f} M/s' for row in (plain, ours)]
  peaks = ' and '.join(f'{row["peak"] / 2**20:.0f} MiB' for row in (plain, ours))
  print(f'{name:10}{rates[0]:>12}{rates[1]:>12}{ratio:8.2f}   {peaks}', flush=True)


def compare(path: pathlib.Path, *, options) -> dict[str, dict]:
  """Rates and the highest peak memory of both ways, one run after the other."""
  rows = {how: {'rates': [], 'peak': 0} for how in ('rasterio', 'read_rows')}
  settings = [f'--{name}={getattr(options, name)}' for name in ('tile', 'threads')]
  program = [sys.executable, '-m', 'benchmarks.read_scenes', *settings]
  for _ in range(options.repeats):
    for how, row in rows.items():
      done = subprocess.run(
        [*program, '--measure', how, str(path)], check=True, stdout=subprocess.PIPE
      )
      found = json.loads(done.stdout.splitlines()[-1])
      row['rates'].append(found['rate'])
      row['peak'] = max(row['peak'], found['peak'])
  return rows


def measure(how: str, path: str, *, options) -> dict:
  """Millions of pixels a second, and this process's peak memory in bytes."""
  cut = functools.partial(tile_boxes, tile=options.tile, stride=options.tile)
  read = {'rasterio': read_plainly, 'read_rows': read_as_rows}[how]
  start = time.perf_counter()
  pixels = read(path, cut=cut, threads=options.threads)
  seconds = time.perf_counter() - start
  return {'rate': pixels / seconds / 1e6, 'peak': peak_memory()}


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


def read_as_rows(path: str, *, cut, threads: int) -> int:
  """Reads, stretches and resizes all tiles, and counts their pixels in the file."""
  rows = read_rows([pathlib.Path(path)], side=SIDE, cut=cut, threads=threads)
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
