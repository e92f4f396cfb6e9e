"""Images a second and core through the host's pipeline, ours beside the usual one.

  python -m benchmarks.pipeline --root=RSICD [--images=1000] [--batch=100] [--rounds=7]
    > benchmarks/results/pipeline.json

The sides take turns over the same images in one process; CPU seconds of the process are
counted, not those of the clock, so that other programs of the machine matter less.
"""

import argparse
import dataclasses
import functools
import json
import math
import os
import pathlib
import platform
import statistics
import time
from collections.abc import Callable, Mapping

import numpy as np
from PIL import Image, ImageEnhance, ImageOps, features

from harma_jax.data.annotations import CaptionTable, load_captions
from harma_jax.data.images import CLIP_MEAN, CLIP_STD, read_size
from harma_jax.data.pipeline import train_batches
from harma_jax.data.pixels import PixelStore, open_pixels
from harma_jax.data.prepared import is_prepared, read_prepared

SIDE, CACHE_SIDE = 224, 256
COUNT, LEVEL = 2, 7  # RandAugment(2, 7)
TOKENS = 77
PEER = 'peer'


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--root', required=True)
  parser.add_argument('--split', default='train')
  parser.add_argument('--images', type=int, default=1000)
  parser.add_argument('--batch', type=int, default=100)
  parser.add_argument('--rounds', type=int, default=7)
  options = parser.parse_args()
  read = read_prepared if is_prepared(options.root) else load_captions
  table = one_caption_each(read(options.root, split=options.split), options.images)
  rounds = measure(sides_of(table, batch_size=options.batch), rounds=options.rounds)
  found = {
    'machine': machine(),
    'images': table.n_images,
    'usual_size': usual_size(table),
    'batch': options.batch,
    'rounds': options.rounds,
    'sides': summary(rounds),
  }
  print(json.dumps(found, indent=2))


def one_caption_each(table: CaptionTable, n_images: int) -> CaptionTable:
  """The first images of a table with one caption each: an epoch sees each once."""
  n_images = min(n_images, table.n_images)
  return dataclasses.replace(
    table,
    image_files=table.image_files[:n_images],
    captions=('',) * n_images,
    caption_image=np.arange(n_images, dtype=np.int32),
  )


def usual_size(table: CaptionTable) -> list[int]:
  """The most frequent width and height."""
  sizes = [read_size(table.image_path(row)) for row in range(table.n_images)]
  return list(statistics.mode(sizes))


def sides_of(table: CaptionTable, *, batch_size: int) -> dict[str, Callable[[], int]]:
  """What is compared, by name: each goes through images and returns how many."""
  go_through = functools.partial(ours, table, batch_size=batch_size)
  stream = open_pixels(table, side=CACHE_SIDE)
  kept = stream.keep(threads=1)
  return {
    PEER: lambda: usual(table, batch_size=batch_size),
    'stream': lambda: go_through(stream),
    'host, first epoch': lambda: go_through(stream.keep(threads=1)),
    'host, later epochs': lambda: go_through(kept, epochs=10),
    'device': lambda: go_through(None, epochs=50),
  }


def ours(
  table: CaptionTable,
  pixels: PixelStore | None,
  *,
  batch_size: int,
  epochs: int = 1,  # more for the quick sides, or there would be nothing to count
) -> int:
  """Some epochs of our batches; with `pixels=None` they are indices."""
  batches = train_batches(
    table,
    np.ones((table.n_captions, TOKENS), np.int32),
    seed=0,
    batch_size=batch_size,
    first_step=0,
    last_step=epochs * (table.n_images // batch_size),
    pixels=pixels,
    threads=1,
  )
  return sum(len(batch['items']) for batch, _ in batches)


def usual(table: CaptionTable, *, batch_size: int) -> int:
  """One epoch of batches f32[B, 3, 224, 224], augmented on the host with Pillow."""
  rng = np.random.default_rng(0)
  rows = rng.permutation(table.n_images)
  rows = rows[: table.n_images // batch_size * batch_size]
  for batch in rows.reshape(-1, batch_size):
    files = (table.image_path(row).open('rb') for row in batch)
    np.stack([prepare_usually(file, rng=rng) for file in files])
  return len(rows)


def prepare_usually(file, *, rng: np.random.Generator) -> np.ndarray:
  """An image as the original implementation trains on it: f32[3, 224, 224]."""
  with file, Image.open(file) as opened:
    image = opened.convert('RGB')
  image = image.crop(draw_box(image.size, rng=rng))
  image = image.resize((SIDE, SIDE), Image.Resampling.BICUBIC)
  if rng.random() < 0.5:
    image = ImageOps.mirror(image)
  for _ in range(COUNT):
    operation = OPERATIONS[rng.integers(len(OPERATIONS))]
    if rng.random() < 0.5:
      image = operation(image, rng.choice((-1, 1)))
  pixels = np.asarray(image, np.float32) / 255
  pixels = (pixels - np.float32(CLIP_MEAN)) / np.float32(CLIP_STD)
  return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def draw_box(
  size: tuple[int, int], *, rng: np.random.Generator
) -> tuple[int, int, int, int]:
  """The box of torchvision's RandomResizedCrop(scale=(0.5, 1)); else the whole."""
  width, height = size
  for _ in range(10):
    area = rng.uniform(0.5, 1) * width * height
    ratio = math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
    w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
    if 0 < w <= width and 0 < h <= height:
      left, top = rng.integers(width - w + 1), rng.integers(height - h + 1)
      return left, top, left + w, top + h
  return 0, 0, width, height


def _warp(image: Image.Image, *matrix: float) -> Image.Image:
  return image.transform(image.size, Image.Transform.AFFINE, matrix)


FACTOR = LEVEL / 10 * 1.8 + 0.1
SHEAR, SHIFT, TURN = LEVEL / 10 * 0.3, LEVEL, LEVEL / 10 * 30  # pixels; degrees
# Each takes an image and a direction, -1 or 1.
OPERATIONS = (
  lambda image, _: image,
  lambda image, _: ImageOps.autocontrast(image),
  lambda image, _: ImageOps.equalize(image),
  lambda image, _: ImageEnhance.Brightness(image).enhance(FACTOR),
  lambda image, _: ImageEnhance.Sharpness(image).enhance(FACTOR),
  lambda image, way: _warp(image, 1, way * SHEAR, 0, 0, 1, 0),
  lambda image, way: _warp(image, 1, 0, 0, way * SHEAR, 1, 0),
  lambda image, way: _warp(image, 1, 0, way * SHIFT, 0, 1, 0),
  lambda image, way: _warp(image, 1, 0, 0, 0, 1, way * SHIFT),
  lambda image, way: image.rotate(way * TURN),
)


def measure(
  sides: Mapping[str, Callable[[], int]],
  *,
  rounds: int,
  clock: Callable[[], float] = time.process_time,
) -> list[dict[str, float]]:
  """Images a CPU second of each side, by round; the first, not counted, warms up."""
  return [_round(sides, clock=clock) for _ in range(rounds + 1)][1:]


def _round(
  sides: Mapping[str, Callable[[], int]], *, clock: Callable[[], float]
) -> dict[str, float]:
  speeds = {}
  for name, side in sides.items():
    start = clock()
    n_images = side()
    speeds[name] = n_images / (clock() - start)
  return speeds


def summary(rounds: list[dict[str, float]]) -> dict[str, dict]:
  """Medians and quartiles of the speeds, and of their ratios to the peer's."""
  return {
    name: {
      'images_per_cpu_second': _quartiles([speeds[name] for speeds in rounds]),
      'ratio_to_peer': _quartiles([speeds[name] / speeds[PEER] for speeds in rounds]),
    }
    for name in rounds[0]
  }


def _quartiles(values: list[float]) -> dict[str, float]:
  low, median, high = np.quantile(values, [0.25, 0.5, 0.75])
  return {
    name: float(f'{value:.4g}')
    for name, value in (('median', median), ('low', low), ('high', high))
  }


def machine() -> dict[str, str | int | None]:
  """The CPU, its cores and the versions that decide the speed."""
  lines = pathlib.Path('/proc/cpuinfo').read_text().splitlines()
  models = [line.split(':')[1].strip() for line in lines if 'model name' in line]
  return {
    'cpu': models[0] if models else platform.processor(),
    'cores': os.cpu_count(),
    'python': platform.python_version(),
    'numpy': np.__version__,
    'pillow': features.version('pil'),
    'libjpeg_turbo': features.version('libjpeg_turbo'),
  }


if __name__ == '__main__':
  main()
