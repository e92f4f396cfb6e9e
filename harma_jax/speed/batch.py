"""Random pairs, as training batches have them."""

import jax
import jax.numpy as jnp
import numpy as np

from harma_jax.building.recipe import Recipe


def batch_of(recipe: Recipe) -> dict[str, np.ndarray]:
  """A global batch of a run's shape."""
  return random_batch(
    batch_size=recipe.pace.batch_size,
    captions_per_image=recipe.pace.captions_per_image,
    context_length=recipe.data.context_length,
    image_size=recipe.model.size.image_size,
    vocabulary=recipe.model.size.vocabulary,
  )


def batch_shapes(recipe: Recipe) -> dict[str, jax.ShapeDtypeStruct]:
  """Shapes and dtypes of `batch_of(recipe)`; nothing is drawn."""
  pace, side = recipe.pace, recipe.model.size.image_size
  several = pace.captions_per_image > 1
  rows = (pace.batch_size, pace.captions_per_image)[: 1 + several]
  return {
    'images': jax.ShapeDtypeStruct((pace.batch_size, side, side, 3), jnp.uint8),
    'tokens': jax.ShapeDtypeStruct((*rows, recipe.data.context_length), jnp.int32),
    'image_ids': jax.ShapeDtypeStruct((pace.batch_size,), jnp.int32),
    'rows': jax.ShapeDtypeStruct(rows, jnp.int32),
  }


def random_batch(
  *,
  batch_size: int,
  captions_per_image: int,
  context_length: int,
  image_size: int,
  vocabulary: int,
) -> dict[str, np.ndarray]:
  """Random pixels and captions, as a global batch for the step.

  Args:
    batch_size: images, each another.
    captions_per_image: of each; with several, captions have an axis of their own.
    context_length: tokens of a caption, whose end stands anywhere.
    image_size: pixels.
    vocabulary: of tokens, the last of which is the end.

  Returns:
    `images` u8[B, side, side, 3], `tokens` i32[B, L] or [B, n, L], `image_ids` i32[B],
    `rows` i32[B] or [B, n], the numbers of the captions.
  """
  rng = np.random.default_rng(0)
  several = captions_per_image > 1
  shape = (batch_size, captions_per_image) if several else (batch_size,)
  last = vocabulary - 1
  tokens = rng.integers(1, last, (*shape, context_length), np.int32)
  end = rng.integers(1, context_length, (*shape, 1))
  positions = np.arange(context_length)
  tokens = np.where(positions < end, tokens, np.where(positions == end, last, 0))
  pixels = (batch_size, image_size, image_size, 3)
  return {
    'images': rng.integers(0, 256, pixels, np.uint8),
    'tokens': tokens.astype(np.int32),
    'image_ids': np.arange(batch_size, dtype=np.int32),
    'rows': np.arange(np.prod(shape), dtype=np.int32).reshape(shape),
  }
