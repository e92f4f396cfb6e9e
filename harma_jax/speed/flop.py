"""What a step takes by the compiler's count."""

import dataclasses

import jax
from ml_collections import ConfigDict

from harma_jax.building.model import build_model
from harma_jax.building.step import build_optimizer, build_step, state_shapes
from harma_jax.speed.batch import build_random_batch, pairs_of


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
  state = state_shapes(config, model, optimizer, n_captions=pairs_of(config))
  lowered = jax.jit(step).lower(state, build_random_batch(config, model))
  flop = (lowered.cost_analysis() or {}).get('flops')
  return None if flop is None else flop / pairs_of(config)
