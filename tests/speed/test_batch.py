"""Random pairs have the shapes of a config and end as captions do."""

import jax
import pytest

from harma_jax.speed.batch import batch_of, batch_shapes


@pytest.mark.parametrize('captions', [1, 3])
def test_a_random_batch_is_as_the_step_takes_it(small_recipe, captions):
  recipe = small_recipe({'data.captions_per_image': captions})
  batch = batch_of(recipe)
  tokens = batch['tokens'].reshape(-1, 8)
  assert batch['images'].shape == (8, 16, 16, 3)
  assert batch['tokens'].shape == ((8, 8) if captions == 1 else (8, captions, 8))
  assert batch['rows'].size == len(tokens) == 8 * captions
  shapes = batch_shapes(recipe)
  assert shapes == jax.eval_shape(lambda: jax.tree.map(jax.numpy.asarray, batch))
  for row in tokens:
    end = row.argmax()
    assert row[end] == recipe.model.size.vocabulary - 1
    assert (row[:end] > 0).all()
    assert not row[end + 1 :].any()
