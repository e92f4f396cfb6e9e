"""Which samples are kept, and how the threshold changes."""

import jax.numpy as jnp
import numpy as np
import pytest

from harma_jax.objective.curriculum import (
  as_cosine,
  keep_above,
  keep_all,
  keep_as_many,
  keep_soft,
  linear_at,
)

COSINE = jnp.array([[-0.5, -0.3, 0.0, 0.4]])


def test_keeping_rules():
  assert keep_all(COSINE).tolist() == [[1, 1, 1, 1]]
  assert keep_above(-0.3)(COSINE).tolist() == [[0, 0, 1, 1]]
  soft = keep_soft(-0.3)(COSINE)[0]
  assert soft[1] == 0.5
  assert (jnp.diff(soft) > 0).all()


def test_a_control_drops_as_many_of_the_lowest_scores():
  scores = jnp.array([[3.0, 4.0, 1.0, 2.0]])
  keep = keep_as_many(keep_above(-0.3), scores)
  assert keep(COSINE).tolist() == [[1, 1, 0, 0]]
  # Two rows that judge the same samples, as a pair of losses does.
  both = keep(jnp.concatenate([COSINE, COSINE]))
  assert both.tolist() == [[1, 1, 0, 0]] * 2


def test_the_threshold_rises_and_stays():
  rise = [
    float(linear_at(jnp.int32(step), values=(-0.3, 0.0), start_step=4, steps=10))
    for step in (0, 4, 9, 14, 30)
  ]
  np.testing.assert_allclose(rise, [-0.3, -0.3, -0.15, 0, 0], atol=1e-7)


@pytest.mark.parametrize(('share', 'dropped'), [(0, 0), (0.2, 20), (0.5, 50), (1, 100)])
def test_a_share_is_the_share_that_is_dropped(share, dropped):
  cosine = jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (4, 25)), jnp.float32)
  level = as_cosine(jnp.float32(share), cosine, unit='share')
  assert jnp.sum(keep_above(level)(cosine) == 0) == pytest.approx(dropped, abs=1)
  assert as_cosine(jnp.float32(share), cosine, unit='cosine') == share
