"""What a report says of a step that was timed."""

import jax
import jax.numpy as jnp
import numpy as np

from harma_jax.building.recipe import Recipe
from harma_jax.speed.compiled import CompiledStep
from harma_jax.speed.flop import flop_per_pair
from harma_jax.speed.gauges import matmul_peak, peak_memory, rates_of, utilisation

# Large enough to keep the matrix units of a device busy; products in a row of a timing.
MATMUL_SIDE = {'cpu': 2048}
MATMUL_CHAIN = {'cpu': 1}
MATMUL_REPEATS = 10


def step_figures(
  recipe: Recipe, compiled: CompiledStep, *, seconds: np.ndarray
) -> dict:
  """Rates, FLOP and memory of programs that took `seconds` f64[n] each."""
  # Before other work on the device adds to it.
  memory = peak_memory(jax.local_devices()[0], compiled.step)
  rates = rates_of(seconds, count=recipe.pace.pairs * recipe.pace.dispatch)
  flop, peak = flop_per_pair(recipe), device_peak(recipe.model.dtype)
  return {
    'compile_seconds': compiled.compile_seconds,
    'pairs_per_second': rates,
    'flop_per_pair': flop,
    'matmul_flop_per_second': peak,
    'model_flop_utilisation': utilisation(
      flop_per_pair=flop,
      pairs_per_second=rates['median'],
      peak=peak,
      devices=recipe.mesh.size,
    ),
    **memory,
  }


def device_peak(dtype: jnp.dtype) -> float:
  """FLOP/s of a device in matrix products: a CPU's in `dtype`, others' in bfloat16."""
  platform = jax.default_backend()
  return matmul_peak(
    dtype=dtype if platform == 'cpu' else jnp.bfloat16,
    side=MATMUL_SIDE.get(platform, 8192),
    chain=MATMUL_CHAIN.get(platform, 8),
    repeats=MATMUL_REPEATS,
  )
