"""What a step costs beside another one: FLOPs from the compiler, times side by side.

  python -m benchmarks.step_cost flops [--size=ViT-B-32 --batch=256]
  python -m benchmarks.step_cost time [--size=tiny --batch=128 --rounds=15]
  python -m benchmarks.step_cost seeds [--size=tiny --batch=128 --rounds=15]

Prints JSON. `flops` and `time`: harmonization, every option as a ratio to the plain
step with as many captions an image. `seeds`: a step of three seeds at once, vmapped
over one frozen backbone, as a ratio to three steps in turn.
"""

import argparse
import functools
import json
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

from harma_jax.building.model import build_model
from harma_jax.building.step import build_optimizer, build_step, state_shapes
from harma_jax.configs.common import get_config

# Options beside the plain step, by the captions an image that they need.
DROP = {'curriculum': 'drop'}
OPTIONS = {
  1: {
    'uniformity, drop': DROP | {'pair': 'uniformity', 'realign': False},
    'directions, drop and realign': DROP | {'pair': 'directions', 'realign': True},
    'objectives, drop and realign': DROP | {'pair': 'objectives', 'realign': True},
  },
  2: {
    'captions, realign': {'pair': 'captions', 'realign': True, 'curriculum': 'off'},
    'captions, drop': DROP | {'pair': 'captions', 'realign': False},
    'captions, drop and realign': DROP | {'pair': 'captions', 'realign': True},
  },
}
SEEDS = 3
EXACT = {'captions, drop and realign, over the weights': {'space': 'adapter'}}


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('what', choices=('flops', 'time', 'seeds'))
  parser.add_argument('--size', default='')
  parser.add_argument('--batch', type=int, default=0)
  parser.add_argument('--rounds', type=int, default=15)
  options = parser.parse_args()
  logging.set_verbosity(logging.ERROR)
  usual = {'flops': ('ViT-B-32', 256), 'time': ('tiny', 128), 'seeds': ('tiny', 128)}[
    options.what
  ]
  size, batch = options.size or usual[0], options.batch or usual[1]
  place = {'size': size, 'batch': batch, 'device': jax.devices()[0].device_kind}
  found = {
    'flops': lambda: flops(size, batch),
    'time': lambda: times(size, batch, options.rounds),
    'seeds': lambda: [seeds(size, batch, options.rounds)],
  }[options.what]()
  print(json.dumps(place | {'what': options.what, 'options': found}, indent=2))


def flops(size: str, batch: int) -> list[dict]:
  """FLOPs of the compiled step; layers unrolled, for a loop's body counts once."""
  rows = []
  for captions, options in OPTIONS.items():
    plain = None
    for name, settings in ({'plain': {}} | options).items():
      config = config_of(size, batch, captions, settings, layers='unroll')
      step, state = step_of(config)
      lowered = jax.jit(step).lower(state, batch_of(config, shapes=True))
      count = lowered.compile().cost_analysis()['flops']
      plain = plain or count
      row = {'captions': captions, 'option': name, 'flops': count}
      rows.append(row | {'ratio': round(count / plain, 5)})
  return rows


def times(size: str, batch: int, rounds: int) -> list[dict]:
  """Medians of the ratio to the plain step, one step of each in turn."""
  rows = []
  for captions, settings in OPTIONS.items():
    named = {'plain': {}} | settings
    if captions == 2:
      named |= {
        name: settings['captions, drop and realign'] | exact
        for name, exact in EXACT.items()
      }
    seconds = measured(size, batch, captions, named, rounds=rounds)
    for name, taken in seconds.items():
      ratios = summary(taken, beside=seconds['plain'])
      rows.append({'captions': captions, 'option': name} | ratios)
  return rows


def summary(seconds: list[float], *, beside: list[float]) -> dict:
  """The median, and the ratio to what was timed in the same rounds."""
  ratios = np.array(seconds) / np.array(beside)
  return {
    'median_seconds': round(float(np.median(seconds)), 4),
    'ratio': round(float(np.median(ratios)), 3),
    'ratio_quartiles': np.quantile(ratios, (0.25, 0.75)).round(3).tolist(),
  }


def seeds(size: str, batch: int, rounds: int) -> dict:
  """Seconds of a step of several seeds at once, beside as many steps in turn."""
  config = config_of(size, batch, 1, {}, layers='scan')
  step, shapes = step_of(config)
  state = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
  rows = batch_of(config, shapes=False)
  repeat = functools.partial(jax.tree.map, lambda leaf: jnp.stack([leaf] * SEEDS))
  every = jax.tree.map(lambda _: 0, state).replace(
    frozen=jax.tree.map(lambda _: None, state.frozen)
  )
  at_once = jax.jit(jax.vmap(step, in_axes=(every, 0), out_axes=(every, 0)))
  states, batches = repeat(state).replace(frozen=state.frozen), repeat(rows)
  alone = jax.jit(step)
  calls = {
    'in turn': lambda: [alone(state, rows) for _ in range(SEEDS)],
    'at once': lambda: at_once(states, batches),
  }
  taken = in_turn(calls, rounds=rounds)
  return {'seeds': SEEDS} | summary(taken['at once'], beside=taken['in turn'])


def measured(
  size: str, batch: int, captions: int, named: dict, *, rounds: int
) -> dict[str, list[float]]:
  """Seconds of `rounds` steps of each option, taken in turn."""
  runs = {}
  for name, settings in named.items():
    config = config_of(size, batch, captions, settings, layers='scan')
    step, shapes = step_of(config)
    state = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    runs[name] = jax.jit(step), state, batch_of(config, shapes=False)
  calls = {
    name: functools.partial(step, state, rows)
    for name, (step, state, rows) in runs.items()
  }
  return in_turn(calls, rounds=rounds)


def in_turn(calls: dict[str, Callable], *, rounds: int) -> dict[str, list[float]]:
  """Seconds of `rounds` calls of each, one of each after the other."""
  seconds = {name: [] for name in calls}
  for turn in range(rounds + 1):
    for name, call in calls.items():
      start = time.perf_counter()
      jax.block_until_ready(call())
      if turn:  # the first compiles
        seconds[name].append(time.perf_counter() - start)
  return seconds


def config_of(size: str, batch: int, captions: int, settings: dict, *, layers: str):
  config = get_config()
  config.model.update({'size': size, 'layers': layers})
  if size.startswith('tiny'):
    config.model.update({'bottleneck': 64, 'shared_bottleneck': 32})
  config.train.batch_size = batch
  config.data.captions_per_image = captions
  config.harmonization.update(settings)
  return config


def step_of(config) -> tuple:
  """The step, and the shapes of its state."""
  model = build_model(config)
  optimizer, schedule = build_optimizer(config, total_steps=100)
  step = build_step(config, model, optimizer, schedule, total_steps=100)
  n_captions = config.train.batch_size * config.data.captions_per_image
  return step, state_shapes(config, model, optimizer, n_captions=n_captions)


def batch_of(config, *, shapes: bool) -> dict:
  """A batch, or its shapes."""
  size = build_model(config).size
  n, captions = config.train.batch_size, config.data.captions_per_image
  several = (captions,) if captions > 1 else ()
  shape = {
    'images': ((n, size.image_size, size.image_size, 3), jnp.uint8),
    'tokens': ((n, *several, size.context_length), jnp.int32),
    'image_ids': ((n,), jnp.int32),
    'rows': ((n, *several), jnp.int32),
  }
  batch = {name: jax.ShapeDtypeStruct(*each) for name, each in shape.items()}
  if shapes:
    return batch
  batch = jax.tree.map(lambda leaf: jnp.ones(leaf.shape, leaf.dtype), batch)
  rows = jnp.arange(n * captions, dtype=jnp.int32).reshape(batch['rows'].shape)
  return batch | {'image_ids': jnp.arange(n, dtype=jnp.int32), 'rows': rows}


if __name__ == '__main__':
  main()
