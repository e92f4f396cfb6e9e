"""Everything that is measured of a config in a mode, and of what it is measured."""

import pathlib

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from harma_jax.building.batch import fit_batch
from harma_jax.building.check import check_config
from harma_jax.building.model import build_model, with_fastest_attention
from harma_jax.building.params import resolve
from harma_jax.building.recipe import Recipe, build_recipe
from harma_jax.speed.encoders import measure_eval
from harma_jax.speed.host import measure_pipeline
from harma_jax.speed.steps import measure_step, measure_train

MODES = {
  'step': measure_step,
  'pipeline': measure_pipeline,
  'train': measure_train,
  'eval': measure_eval,
}

# Every report has them, null where its mode does not measure them.
FIELDS = (
  'compile_seconds',
  'pairs_per_second',
  'images_per_second',
  'captions_per_second',
  'processor_seconds',
  'flop_per_pair',
  'matmul_flop_per_second',
  'model_flop_utilisation',
  'cache',
  'share_waiting_for_input',
  'peak_memory_bytes',
  'peak_memory_source',
)


def measure(config: ConfigDict, *, mode: str, steps: int, warmup: int) -> dict:
  """What is measured in a mode, with what it is measured of.

  Args:
    config: of a run.
    mode: one of `MODES`.
    steps: how many are timed.
    warmup: how many come before them.

  Returns:
    As JSON has it: `mode`, the setting, and `FIELDS`.

  Raises:
    UserError: a mistake in the config, or (all modes but `step`) in its data.
  """
  config = resolve(config, workdir=pathlib.Path(config.init))
  config = fit_batch(config, count=jax.device_count())
  check_config(config)
  recipe = build_recipe(config, with_fastest_attention(config, build_model(config)))
  measured = MODES[mode](recipe, steps=steps, warmup=warmup)
  return {
    'mode': mode,
    **_setting(recipe, size=config.model.size),
    **{field: measured.get(field) for field in FIELDS},
  }


def _setting(recipe: Recipe, *, size: str) -> dict:
  model, pace = recipe.model, recipe.pace
  return {
    'framework': f'jax {jax.__version__}',
    'device': jax.devices()[0].device_kind,
    'device_count': jax.device_count(),
    'size': size,
    'batch': pace.batch_size,
    'steps_per_dispatch': pace.dispatch,
    'captions_per_image': pace.captions_per_image,
    'tokens': recipe.data.context_length,
    'dtype': jnp.dtype(model.dtype).name,
    'layers': model.layers,
    'remat': model.remat,
  }


def summary(found: dict) -> str:
  """One line of a report."""
  parts = [
    f'{found["mode"]}: {found["size"]}, {found["dtype"]}, batch {found["batch"]}, '
    f'{found["tokens"]} tokens, {found["device_count"]} x {found["device"]}'
  ]
  for name in ('pairs_per_second', 'images_per_second', 'captions_per_second'):
    if found[name]:
      unit, rate = name.removesuffix('_per_second'), found[name]
      parts.append(
        f'{rate["median"]:,.1f} {unit}/s ({rate["p5"]:,.1f} to {rate["p95"]:,.1f})'
      )
  shares = {
    'model_flop_utilisation': 'of the matmul peak',
    'share_waiting_for_input': 'of the time waiting for input',
  }
  for name, of in shares.items():
    if found[name] is not None:
      parts.append(f'{found[name]:.1%} {of}')
  return '; '.join(parts)
