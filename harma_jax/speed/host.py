"""Training batches as the host makes them, alone."""

import contextlib
import time
from collections.abc import Iterator

import numpy as np
from ml_collections import ConfigDict

from harma_jax.building.data import (
  build_batches,
  build_pixels,
  build_table,
  distinct_images,
)
from harma_jax.building.model import build_model
from harma_jax.building.text import build_tokens
from harma_jax.data.pixels import PixelStore
from harma_jax.devices.mesh import make_mesh
from harma_jax.speed.batch import pairs_of
from harma_jax.speed.gauges import memory_row, rates_of


def measure_pipeline(config: ConfigDict, *, steps: int, warmup: int) -> dict:
  """Training batches on the host, nothing on a device."""
  data, count = train_data(config), warmup + steps
  with contextlib.closing(host_batches(config, *data, count=count)) as batches:
    ends = [time.perf_counter()]
    for _ in batches:
      ends.append(time.perf_counter())
  rates = rates_of(np.diff(ends)[-steps:], count=pairs_of(config))
  return {
    'pairs_per_second': rates,
    **memory_row(None, source='none: no device is used'),
  }


def train_data(config: ConfigDict) -> tuple[PixelStore, str, np.ndarray]:
  """The training images, where they are kept, and the tokens of all captions."""
  table = build_table(config, config.data.train_split)
  pixels, cache = build_pixels(config, table)
  return pixels, cache, build_tokens(config, table, build_model(config))


def host_batches(
  config: ConfigDict, pixels: PixelStore, cache: str, tokens: np.ndarray, *, count: int
) -> Iterator[tuple[dict, int]]:
  """The first `count` training batches, their captions not cut."""
  return build_batches(
    config,
    pixels.table,
    tokens,
    pixels=None if cache == 'device' else pixels,
    lengths=(),
    n_distinct=distinct_images(
      config, pixels.table, last_step=count, mesh=make_mesh(fsdp=config.mesh.fsdp)
    ),
    first_step=0,
    last_step=count,
  )
