"""The objective, the optimizer and the state of a config."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from harma_jax.building.model import build_model
from harma_jax.building.objective import build_objective
from harma_jax.building.params import (
  build_params,
)
from harma_jax.building.step import (
  build_optimizer,
  build_state,
  state_shapes,
)
from harma_jax.objective.logits import Logits
from harma_jax.stepping.optim import count


def with_adapters(small_config, **changes):
  fields = {'model.adapters': 'harma', 'optimizer.train': 'adapters'}
  return small_config(fields | changes)


def test_the_objective_takes_its_weights(small_config):
  fields = {'objective.triplet_weight': 0.5, 'objective.contrastive_weight': 2.0}
  features = jnp.eye(4)
  arguments = (features, features[::-1], jnp.arange(4))
  loss, terms = build_objective(small_config(fields))(*arguments, logits=Logits(0.1))
  expected = 2 * terms['contrastive'] + 0.5 * terms['triplet']
  assert float(loss) == pytest.approx(float(expected))


@pytest.mark.parametrize(('reduction', 'warns'), [('sum', True), ('mean', False)])
def test_a_sum_that_grows_with_the_batch_is_warned_of(
  small_config, caplog, reduction, warns
):
  fields = {'objective.triplet_reduction': reduction, 'objective.triplet_weight': 1.0}
  build_objective(small_config(fields))
  assert ('triplet_reduction=sum' in caplog.text) == warns


def test_warmup_is_a_share_of_the_steps(small_config):
  config = small_config({'optimizer.warmup': 0.2})
  _, schedule = build_optimizer(config, total_steps=50)
  rates = [float(schedule(step)) for step in range(51)]
  assert rates[0] == 0.0
  assert np.argmax(rates) == 10
  assert rates[10] == pytest.approx(0.02)
  assert rates[50] == pytest.approx(0.0, abs=1e-9)


def test_shapes_of_a_state_are_those_of_the_state(small_config):
  config = with_adapters(small_config)
  model = build_model(config)
  optimizer, _ = build_optimizer(config, total_steps=6)
  shapes = state_shapes(config, model, optimizer)
  params, _ = build_params(config, model, init='')
  state = build_state(config, params, optimizer)
  assert jax.tree.structure(shapes) == jax.tree.structure(state)
  pairs = zip(jax.tree.leaves(shapes), jax.tree.leaves(state), strict=True)
  assert all((a.shape, a.dtype) == (b.shape, b.dtype) for a, b in pairs)
  assert 0 < count(state.trainable) < count(state.frozen)
