"""Training batches as the host makes them, alone."""

import contextlib
import time
from collections.abc import Iterator

import numpy as np

from harma_jax.building.recipe import DataRecipe, Recipe
from harma_jax.data.pixels import PixelStore
from harma_jax.speed.gauges import memory_row, rates_of


def measure_pipeline(recipe: Recipe, *, steps: int, warmup: int) -> dict:
  """Training batches on the host, nothing on a device."""
  data, count = train_data(recipe.data), warmup + steps
  with contextlib.closing(host_batches(recipe.data, *data, count=count)) as batches:
    ends = [time.perf_counter()]
    for _ in batches:
      ends.append(time.perf_counter())
  rates = rates_of(np.diff(ends)[-steps:], count=recipe.pace.pairs)
  return {
    'pairs_per_second': rates,
    **memory_row(None, source='none: no device is used'),
  }


def train_data(recipe: DataRecipe) -> tuple[PixelStore, str, np.ndarray]:
  """The training images, where they are kept, and the tokens of all captions."""
  table = recipe.read_table(recipe.splits['train'])
  return *recipe.open_pixels(table), recipe.tokenize(table)


def host_batches(
  recipe: DataRecipe,
  pixels: PixelStore,
  cache: str,
  tokens: np.ndarray,
  *,
  count: int,
) -> Iterator[tuple[dict, int]]:
  """The first `count` training batches, their captions not cut."""
  return recipe.batches(
    pixels.table,
    tokens,
    pixels=None if cache == 'device' else pixels,
    lengths=(),
    n_distinct=recipe.distinct_images(pixels.table, last_step=count),
    first_step=0,
    last_step=count,
  )
