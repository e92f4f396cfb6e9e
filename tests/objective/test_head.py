"""Heads: the plain gradient, and what harmonization makes of it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from harma_jax.errors import UserError
from harma_jax.objective.alignment import make_objective
from harma_jax.objective.head import harmonized_head, plain_head
from harma_jax.objective.logits import Logits

IDS = jnp.array([0, 1, 2, 0, 3, 4])
LOGITS = Logits(jnp.float32(0.1), jnp.float32(-1.0))
OFF = {
  'realign': False,
  'curriculum': 'off',
  'indicator': 'conflict',
  'threshold': (-0.3, 0.0),
  'unit': 'cosine',
  'start_step': 0,
  'anneal_steps': 10,
  'renormalize': True,
  'seed': 0,
}


@pytest.fixture(scope='module', params=['softmax', 'sigmoid'])
def contrastive(request):
  return request.param


@pytest.fixture(scope='module')
def objective(contrastive):
  return make_objective(
    contrastive=contrastive,
    contrastive_weight=1.0,
    triplet_weight=0.001,
    margin=0.2,
    gamma=2.0,
    triplet_reduction='mean',
    mask_same_image=True,
  )


@pytest.fixture(scope='module')
def harmonized(objective, contrastive):
  return functools.partial(harmonized_head, objective, contrastive=contrastive)


def units(seed):
  rows = np.random.default_rng(seed).normal(size=(6, 5))
  return jnp.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), jnp.float32)


@pytest.fixture(scope='module')
def features():
  return units(0), (units(1), units(2))


def tangent(gradient, unit):
  return gradient - jnp.sum(gradient * unit, axis=1, keepdims=True) * unit


def one_caption(features):
  return features[0], features[1][:1]


def run(head, features, *, step=0):
  return head(*features, LOGITS, IDS, jnp.int32(step))


def assert_close(one, other):
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), one, other)


def test_the_plain_head_gives_the_gradient_of_the_mean_over_captions(
  objective, features
):
  images, captions = features

  def loss(images, captions, logits):
    values = [objective(images, caption, IDS, logits=logits)[0] for caption in captions]
    return (values[0] + values[1]) / 2

  headed = run(plain_head(objective), features)
  expected = jax.grad(loss, argnums=(0, 1, 2))(images, captions, LOGITS)
  assert_close(headed.cotangents, expected)
  np.testing.assert_allclose(headed.metrics['loss'], loss(*features, LOGITS))
  assert set(headed.metrics) == {'loss', 'contrastive', 'triplet'}


@pytest.mark.parametrize('pair', ['captions', 'uniformity', 'directions', 'objectives'])
def test_switched_off_it_is_the_plain_gradient_on_the_tangent_space(
  objective, harmonized, features, pair
):
  given = features if pair == 'captions' else one_caption(features)
  plain = run(plain_head(objective), given)
  headed = run(harmonized(pair=pair, **OFF), given)
  images, captions, logits = plain.cotangents
  off_images, off_captions, off_logits = headed.cotangents
  on_sphere = functools.partial(tangent, unit=given[0])
  assert_close(on_sphere(off_images), on_sphere(images))
  for ours, theirs, unit in zip(off_captions, captions, given[1], strict=True):
    assert_close(tangent(ours, unit), tangent(theirs, unit))
  assert off_logits == logits
  assert headed.metrics['loss'] == plain.metrics['loss']


@pytest.mark.parametrize('pair', ['captions', 'uniformity', 'directions', 'objectives'])
def test_dropped_samples_give_no_gradient_but_stay_negatives(
  harmonized, features, pair
):
  given = features if pair == 'captions' else one_caption(features)
  settings = OFF | {'curriculum': 'drop', 'threshold': (0.1, 0.1)}
  headed = run(harmonized(pair=pair, **settings), given)
  np.testing.assert_array_equal(headed.keep, headed.cosine > 0.1)
  dropped = np.asarray(headed.keep) == 0
  if dropped.all():
    pytest.fail('the toy drops all samples: nothing is tested')
  for gradients, rows in zip(headed.cotangents[1], dropped, strict=True):
    assert not np.asarray(gradients)[rows].any()
    assert np.asarray(gradients)[~rows].all(axis=1).any()


def test_captions_are_judged_by_the_gradient_on_their_image(
  objective, harmonized, features
):
  images, captions = features
  first, second = (
    tangent(
      jax.grad(lambda u, c=c: objective(u, c, IDS, logits=LOGITS)[0])(images),
      images,
    )
    for c in captions
  )
  headed = run(harmonized(pair='captions', **OFF), features)
  norms = jnp.linalg.norm(first, axis=1) * jnp.linalg.norm(second, axis=1)
  cosine = jnp.sum(first * second, axis=1) / norms
  np.testing.assert_allclose(headed.cosine, jnp.stack([cosine, cosine]), atol=1e-5)


@pytest.mark.parametrize('indicator', ['random', 'loss', 'caption_similarity'])
def test_controls_drop_as_many(harmonized, features, indicator):
  settings = OFF | {'curriculum': 'drop', 'threshold': (0.0, 0.0)}
  conflict = run(harmonized(pair='captions', **settings), features)
  control = run(
    harmonized(pair='captions', **settings | {'indicator': indicator}),
    features,
  )
  assert 0 < float(conflict.keep.sum()) < conflict.keep.size
  assert control.keep.sum() == conflict.keep.sum()


def test_the_loss_control_drops_the_highest_losses(harmonized, features):
  settings = OFF | {'curriculum': 'drop', 'threshold': (0.0, 0.0), 'indicator': 'loss'}
  headed = run(harmonized(pair='captions', **settings), features)
  similarity = np.stack([np.sum(features[0] * c, axis=1) for c in features[1]])
  kept = np.asarray(headed.keep) > 0
  assert similarity[kept].mean() > similarity[~kept].mean()


def test_the_threshold_follows_the_step(harmonized, features):
  head = harmonized(pair='captions', **OFF)
  levels = [float(run(head, features, step=s).metrics['threshold']) for s in (0, 5, 99)]
  np.testing.assert_allclose(levels, [-0.3, -0.15, 0.0], atol=1e-7)


def test_metrics_describe_the_cosines(harmonized, features):
  headed = run(harmonized(pair='captions', **OFF), features)
  cosine = np.asarray(headed.cosine)
  metrics = headed.metrics
  assert metrics['conflict_share'] == np.mean(cosine < 0)
  assert metrics['kept_share'] == 1
  assert metrics['cosine_histogram'].shape == (21,)
  assert metrics['cosine_histogram'].sum() == cosine.size
  np.testing.assert_allclose(
    metrics['cosine_quantiles'][2], np.median(cosine), atol=1e-6
  )


def test_a_batch_of_one_image_stays_finite(harmonized, features):
  head = harmonized(pair='uniformity', **OFF)
  images, captions = one_caption(features)
  headed = head(images, captions, LOGITS, jnp.zeros(6, jnp.int32), jnp.int32(0))
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(headed))


@pytest.mark.parametrize(
  ('settings', 'message'),
  [
    ({'pair': 'images'}, r'harmonization\.pair: expected one of captions'),
    ({'pair': 'captions', 'curriculum': 'on'}, 'curriculum: expected one of off'),
    ({'pair': 'captions', 'indicator': 'luck'}, 'indicator: expected one of conflict'),
    ({'pair': 'uniformity', 'realign': True}, r'realign=False'),
    ({'pair': 'captions', 'indicator': 'loss'}, 'expected curriculum=drop with loss'),
    (
      {'pair': 'uniformity', 'indicator': 'caption_similarity', 'curriculum': 'drop'},
      'expected pair=captions',
    ),
  ],
)
def test_choices_that_do_not_fit_are_refused(harmonized, settings, message):
  with pytest.raises(UserError, match=message):
    harmonized(**OFF | settings)


@pytest.mark.parametrize('pair', ['directions', 'objectives'])
def test_inverted_indicators_warn(harmonized, pair, caplog):
  harmonized(pair=pair, **OFF)
  assert 'inverted indicator' in caplog.text
