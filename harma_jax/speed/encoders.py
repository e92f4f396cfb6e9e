"""The encoders of an evaluation, batch by batch."""

import time
from collections.abc import Callable

import jax
import numpy as np
from ml_collections import ConfigDict

from harma_jax.building.data import build_table
from harma_jax.building.evaluation import build_evaluation_split
from harma_jax.building.model import build_model, with_fastest_attention
from harma_jax.devices.mesh import make_mesh, tree_shardings
from harma_jax.evaluation.evaluator import make_encoders
from harma_jax.speed.compiled import random_params
from harma_jax.speed.gauges import peak_memory, rates_of


def measure_eval(config: ConfigDict, *, steps: int, warmup: int) -> dict:
  """Encoding of images and of captions of the validation split, batch by batch."""
  model = with_fastest_attention(config, build_model(config))
  mesh = make_mesh(fsdp=config.mesh.fsdp)
  table = build_table(config, config.data.val_split)
  split = build_evaluation_split(config, table, model)
  size = config.evaluation.batch_size
  params = random_params(model, seed=config.seed)
  params = jax.device_put(params, tree_shardings(params, mesh=mesh))
  encoders = make_encoders(model, mesh=mesh, batch_size=size)
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
