"""What a step takes by the compiler's count."""

import dataclasses

import jax

from harma_jax.building.recipe import Recipe
from harma_jax.speed.batch import batch_shapes


def flop_per_pair(recipe: Recipe) -> float | None:
  """FLOP of a step by the compiler's count, for each pair of its batch.

  Counted on the program before optimisation, the layers unrolled (a loop's body is
  counted once) and nothing recomputed; None where the backend does not count. With
  adapters it is too much, by 4 % at ViT-B/32: the first layer's gradient by its input,
  which nobody takes and the compiler leaves out, counts too.
  """
  model = dataclasses.replace(
    recipe.model, layers='unroll', remat='none', kernel='xla', mesh=None
  )
  trainer = recipe.trainer(total_steps=1, model=model)
  state = trainer.shapes_of(n_captions=recipe.pace.pairs)
  lowered = jax.jit(trainer.step).lower(state, batch_shapes(recipe))
  flop = (lowered.cost_analysis() or {}).get('flops')
  return None if flop is None else flop / recipe.pace.pairs
