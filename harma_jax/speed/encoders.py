"""The encoders of an evaluation, batch by batch."""

import time
from collections.abc import Callable

import jax
import numpy as np

from harma_jax.building.recipe import Recipe
from harma_jax.devices.mesh import tree_shardings
from harma_jax.evaluation.evaluator import make_encoders
from harma_jax.speed.compiled import random_params
from harma_jax.speed.gauges import peak_memory, rates_of


def measure_eval(recipe: Recipe, *, steps: int, warmup: int) -> dict:
  """Encoding of images and of captions of the validation split, batch by batch."""
  table = recipe.data.read_table(recipe.data.splits['val'])
  split, size = recipe.data.evaluation_split(table), recipe.evaluation_batch
  params = random_params(recipe.model, jax.random.key(recipe.seed))
  params = jax.device_put(params, tree_shardings(params, mesh=recipe.mesh))
  encoders = make_encoders(recipe.model, mesh=recipe.mesh, batch_size=size)
  rows = {'images_per_second': split.images, 'captions_per_second': split.tokens}
  figures = {}
  for (name, of_split), encode in zip(rows.items(), encoders, strict=True):
    seconds = _batch_seconds(
      encode, params, of_split, batch_size=size, count=warmup + steps
    )
    figures[name] = rates_of(seconds[-steps:], count=size)
  return figures | peak_memory(jax.local_devices()[0], None)


def _batch_seconds(
  encode: Callable, params: dict, rows: np.ndarray, *, batch_size: int, count: int
) -> np.ndarray:
  """f64[count]: what batches take, after a first one; `rows` come again and again."""
  ends = []
  for start in range(0, (count + 1) * batch_size, batch_size):
    which = np.arange(start, start + batch_size) % len(rows)
    encode(params, rows[which])
    ends.append(time.perf_counter())
  return np.diff(ends)
