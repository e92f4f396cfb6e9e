"""Measures the speed of a config: of its step, its input, both, or its evaluation.

  python -m harma_jax.bench --config=FILE.py [--mode=step|pipeline|train|eval]
    [--steps=20] [--warmup=2] [--out=FILE.json] [--config.any.field=value]

Prints one JSON object and, on standard error, one line. Weights are random; `step`
takes random pairs and needs no data set. With `train.steps_per_dispatch` above 1 so
many steps are one program, and --steps and --warmup count programs.
"""

import contextlib
import dataclasses
import itertools
import json
import pathlib
import time
from collections.abc import Callable, Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags, logging
from jax.sharding import Mesh
from ml_collections import ConfigDict, config_flags

from harma_jax import cli
from harma_jax.building.check import check_config
from harma_jax.building.data import (
  build_batches,
  build_inputs,
  build_pixels,
  build_table,
  distinct_images,
  place_images,
)
from harma_jax.building.evaluation import build_evaluation_split
from harma_jax.building.model import build_model, frozen_dtype, with_fastest_attention
from harma_jax.building.params import resolve_size
from harma_jax.building.step import (
  build_optimizer,
  build_state,
  build_step,
  state_shapes,
)
from harma_jax.building.text import build_tokens, context_length
from harma_jax.data.pixels import PixelStore
from harma_jax.devices.mesh import make_mesh, tree_shardings
from harma_jax.evaluation.evaluator import make_encoders
from harma_jax.model.clip import Clip
from harma_jax.stepping.gauges import (
  matmul_peak,
  memory_row,
  peak_memory,
  rates_of,
  steps_taken,
  time_steps,
  utilisation,
  waiting_share,
)
from harma_jax.stepping.step import TrainState, cast_frozen, compile_step, place_state
from harma_jax.stepping.stepper import make_stepper, place_group

_CONFIG = config_flags.DEFINE_config_file('config', help_string='A file of configs/.')
_MODE = flags.DEFINE_enum(
  'mode',
  'step',
  ['step', 'pipeline', 'train', 'eval'],
  'step: random pairs on the device; pipeline: training batches on the host; '
  'train: both; eval: encoding of the validation split.',
)
_STEPS = flags.DEFINE_integer('steps', 20, 'How many are timed.', lower_bound=1)
_WARMUP = flags.DEFINE_integer('warmup', 2, 'How many before.', lower_bound=0)

# Large enough to keep the matrix units of a device busy; products in a row of a timing.
MATMUL_SIDE = {'cpu': 2048}
MATMUL_CHAIN = {'cpu': 1}
MATMUL_REPEATS = 10

# Every report has them, null where its mode does not measure them.
FIELDS = (
  'compile_seconds',
  'pairs_per_second',
  'images_per_second',
  'captions_per_second',
  'flop_per_pair',
  'matmul_flop_per_second',
  'model_flop_utilisation',
  'cache',
  'share_waiting_for_input',
  'peak_memory_bytes',
  'peak_memory_source',
)


def main(argv: Sequence[str]) -> None:
  """Measures what the command line names."""
  cli.no_arguments(argv)
  config, _ = cli.read_config_flag(_CONFIG.name)
  found = bench(config, mode=_MODE.value, steps=_STEPS.value, warmup=_WARMUP.value)
  text = json.dumps(found, indent=2)
  logging.info('%s', summary(found))
  print(text)
  if cli.OUT.value:
    pathlib.Path(cli.OUT.value).expanduser().write_text(text + '\n')


def bench(config: ConfigDict, *, mode: str, steps: int, warmup: int) -> dict:
  """What is measured in a mode, with what it is measured of.

  Raises:
    UserError: a mistake in the config, or (all modes but `step`) in its data.
  """
  config = resolve_size(config, workdir=pathlib.Path(config.init))
  check_config(config)
  measure = {
    'step': measure_step,
    'pipeline': measure_pipeline,
    'train': measure_train,
    'eval': measure_eval,
  }[mode]
  measured = measure(config, steps=steps, warmup=warmup)
  return {
    'mode': mode,
    **_setting(config),
    **{field: measured.get(field) for field in FIELDS},
  }


def measure_step(config: ConfigDict, *, steps: int, warmup: int) -> dict:
  """The compiled step on one batch of random pairs that stays on the device."""
  prepared = _prepare(config, n_captions=_pairs(config))
  arguments = itertools.repeat(prepared.arguments)
  _, seconds = time_steps(
    prepared.step, prepared.state, arguments, warmup=warmup, steps=steps
  )
  return _step_figures(config, prepared, seconds=seconds)


def measure_pipeline(config: ConfigDict, *, steps: int, warmup: int) -> dict:
  """Training batches on the host, nothing on a device."""
  data, count = _train_data(config), warmup + steps
  with contextlib.closing(_host_batches(config, *data, count=count)) as batches:
    ends = [time.perf_counter()]
    for _ in batches:
      ends.append(time.perf_counter())
  rates = rates_of(np.diff(ends)[-steps:], count=_pairs(config))
  return {
    'pairs_per_second': rates,
    **memory_row(None, source='none: no device is used'),
  }


def measure_train(config: ConfigDict, *, steps: int, warmup: int) -> dict:
  """Augmenting steps on training batches, beside plain ones on one that is there."""
  pixels, cache, tokens = _train_data(config)
  prepared = _prepare(config, n_captions=pixels.table.n_captions)
  timing = {'warmup': warmup, 'steps': steps}
  resident = itertools.repeat(prepared.arguments)
  state, alone = time_steps(prepared.step, prepared.state, resident, **timing)
  side, mesh = build_model(config).size.image_size, prepared.mesh
  size = config.train.steps_per_dispatch
  inputs = build_inputs(config, side=side, mesh=mesh)
  step_for = make_stepper(
    compile_step(prepared.pure_step, state, mesh=mesh, inputs=inputs, several=size > 1),
    tokens=tokens,
    images=place_images(config, pixels, mesh=mesh) if cache == 'device' else {},
    mesh=mesh,
  )
  count = steps_taken(**timing) * size
  found = _host_batches(config, pixels, cache, tokens, count=count)

  def take_group(state, *group):
    arguments, length = place_group(group, size=size, mesh=mesh)
    return step_for(state, *arguments, length=length)(state, *arguments)

  with contextlib.closing(found) as batches:
    groups = iter(lambda: tuple(itertools.islice(batches, size)), ())
    _, seconds = time_steps(take_group, state, groups, **timing)
  return {
    **_step_figures(config, prepared, seconds=seconds),
    'cache': cache,
    'share_waiting_for_input': waiting_share(alone, seconds),
  }


def measure_eval(config: ConfigDict, *, steps: int, warmup: int) -> dict:
  """Encoding of images and of captions of the validation split, batch by batch."""
  model = with_fastest_attention(config, build_model(config))
  mesh = make_mesh(fsdp=config.mesh.fsdp)
  split = build_evaluation_split(
    config, build_table(config, config.data.val_split), model
  )
  size = config.evaluation.batch_size
  params = _random_params(config, model)
  params = jax.device_put(params, tree_shardings(params, mesh=mesh))
  rows = {'images_per_second': split.images, 'captions_per_second': split.tokens}
  figures = {}
  for name, encode in zip(
    rows, make_encoders(model, mesh=mesh, batch_size=size), strict=True
  ):
    ends = []
    for start in range(0, (warmup + steps + 1) * size, size):
      which = np.arange(start, start + size) % len(rows[name])
      encode(params, rows[name][which])
      ends.append(time.perf_counter())
    figures[name] = rates_of(np.diff(ends)[-steps:], count=size)
  return figures | peak_memory(jax.local_devices()[0], None)


def flop_per_pair(config: ConfigDict) -> float | None:
  """FLOP of a step by the compiler's count, for each pair of its batch.

  Counted on the program before optimisation, the layers unrolled (a loop's body is
  counted once) and nothing recomputed; None where the backend does not count. With
  adapters it is too much, by 4 % at ViT-B/32: the first layer's gradient by its input,
  which nobody takes and the compiler leaves out, counts too.
  """
  model = build_model(config)
  model = dataclasses.replace(model, layers='unroll', remat='none', kernel='xla')
  optimizer, schedule = build_optimizer(config, total_steps=1)
  step = build_step(config, model, optimizer, schedule, total_steps=1)
  state = state_shapes(config, model, optimizer, n_captions=_pairs(config))
  lowered = jax.jit(step).lower(state, random_batch(config, model))
  flop = (lowered.cost_analysis() or {}).get('flops')
  return None if flop is None else flop / _pairs(config)


def random_batch(config: ConfigDict, model: Clip) -> dict[str, np.ndarray]:
  """Random pixels and captions, as a global batch for the step.

  The end of a caption stands anywhere; every image is another.
  """
  rng = np.random.default_rng(0)
  size, several = config.train.batch_size, config.data.captions_per_image > 1
  shape = (size, config.data.captions_per_image) if several else (size,)
  length, last = context_length(config, model), model.size.vocabulary - 1
  tokens = rng.integers(1, last, (*shape, length), np.int32)
  end = rng.integers(1, length, (*shape, 1))
  positions = np.arange(length)
  tokens = np.where(positions < end, tokens, np.where(positions == end, last, 0))
  side = model.size.image_size
  return {
    'images': rng.integers(0, 256, (size, side, side, 3), np.uint8),
    'tokens': tokens.astype(np.int32),
    'image_ids': np.arange(size, dtype=np.int32),
    'rows': np.arange(np.prod(shape), dtype=np.int32).reshape(shape),
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


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Prepared:
  """A compiled step and what it is run on."""

  mesh: Mesh
  state: TrainState
  arguments: tuple
  pure_step: Callable
  step: jax.stages.Compiled
  compile_seconds: float


def _prepare(config: ConfigDict, *, n_captions: int) -> _Prepared:
  model = with_fastest_attention(config, build_model(config))
  mesh = make_mesh(fsdp=config.mesh.fsdp)
  optimizer, schedule = build_optimizer(config, total_steps=1000)
  step = build_step(config, model, optimizer, schedule, total_steps=1000)
  params = _random_params(config, model)
  state = build_state(config, params, optimizer, n_captions=n_captions)
  state = cast_frozen(place_state(state, mesh=mesh), frozen_dtype(config))
  arguments, options = _random_arguments(config, model, mesh=mesh)
  start = time.perf_counter()
  jitted = compile_step(step, state, mesh=mesh, **options)
  compiled = jitted.lower(state, *arguments).compile()
  seconds = time.perf_counter() - start
  return _Prepared(
    mesh=mesh,
    state=state,
    arguments=arguments,
    pure_step=step,
    step=compiled,
    compile_seconds=seconds,
  )


def _random_arguments(config: ConfigDict, model: Clip, *, mesh: Mesh):
  """What the step takes beside its state, on the devices; options of `compile_step`."""
  batch, size = random_batch(config, model), config.train.steps_per_dispatch
  length = context_length(config, model)
  arguments, _ = place_group([(batch, length)] * size, size=size, mesh=mesh)
  if size == 1:
    return arguments, {}
  options = {'inputs': lambda _, batch: batch, 'several': True}
  return ({}, *arguments), options


def _step_figures(
  config: ConfigDict, prepared: _Prepared, *, seconds: np.ndarray
) -> dict:
  # Before other work on the device adds to it.
  memory = peak_memory(jax.local_devices()[0], prepared.step)
  rates = rates_of(seconds, count=_pairs(config) * config.train.steps_per_dispatch)
  flop, peak = flop_per_pair(config), _measured_peak(config)
  return {
    'compile_seconds': prepared.compile_seconds,
    'pairs_per_second': rates,
    'flop_per_pair': flop,
    'matmul_flop_per_second': peak,
    'model_flop_utilisation': utilisation(
      flop_per_pair=flop,
      pairs_per_second=rates['median'],
      peak=peak,
      devices=prepared.mesh.size,
    ),
    **memory,
  }


def _measured_peak(config: ConfigDict) -> float:
  platform = jax.default_backend()
  return matmul_peak(
    dtype=build_model(config).dtype if platform == 'cpu' else jnp.bfloat16,
    side=MATMUL_SIDE.get(platform, 8192),
    chain=MATMUL_CHAIN.get(platform, 8),
    repeats=MATMUL_REPEATS,
  )


def _setting(config: ConfigDict) -> dict:
  model = build_model(config)
  return {
    'framework': f'jax {jax.__version__}',
    'device': jax.devices()[0].device_kind,
    'device_count': jax.device_count(),
    'size': config.model.size,
    'batch': config.train.batch_size,
    'steps_per_dispatch': config.train.steps_per_dispatch,
    'captions_per_image': config.data.captions_per_image,
    'tokens': context_length(config, model),
    'dtype': jnp.dtype(model.dtype).name,
    'layers': model.layers,
    'remat': model.remat,
  }


def _pairs(config: ConfigDict) -> int:
  return config.train.batch_size * config.data.captions_per_image


def _random_params(config: ConfigDict, model: Clip) -> dict:
  return jax.jit(model.init)(jax.random.key(config.seed))


def _train_data(config: ConfigDict) -> tuple[PixelStore, str, np.ndarray]:
  """The training images, where they are kept, and the tokens of all captions."""
  table = build_table(config, config.data.train_split)
  pixels, cache = build_pixels(config, table)
  return pixels, cache, build_tokens(config, table, build_model(config))


def _host_batches(
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


if __name__ == '__main__':
  cli.run(main)
