import jax
import numpy as np
import pytest
from absl import logging

from harma_jax.errors import UserError
from harma_jax.objective.alignment import make_objective, warn_of_sum
from harma_jax.objective.contrastive import contrastive
from harma_jax.objective.triplet import adaptive_triplet

SETTINGS = {
  'contrastive_weight': 1.0,
  'triplet_weight': 1.0,
  'margin': 0.3,
  'gamma': 1.5,
  'triplet_reduction': 'sum',
  'mask_same_image': False,
}


@pytest.fixture(scope='module')
def pairs():
  u, v = np.random.default_rng(0).normal(size=(2, 6, 4)).astype(np.float32)
  return u, v, np.array([0, 0, 1, 2, 2, 3], np.int32)


def test_the_loss_is_the_weighted_sum_of_means(pairs):
  settings = SETTINGS | {'contrastive_weight': 0.5, 'triplet_weight': 3.0}
  loss, terms = make_objective(**settings)(*pairs, temperature=0.1)
  first = contrastive(*pairs, temperature=0.1).mean()
  second = adaptive_triplet(
    *pairs, margin=0.3, gamma=1.5, reduction='sum', mask_same_image=False
  ).mean()
  assert {name: float(term) for name, term in terms.items()} == pytest.approx(
    {'contrastive': float(first), 'triplet': float(second)}
  )
  assert loss == pytest.approx(0.5 * first + 3 * second)


@pytest.mark.parametrize('left_out', ['contrastive', 'triplet'])
def test_a_term_of_weight_zero_is_not_computed(pairs, left_out):
  objective = make_objective(**SETTINGS | {f'{left_out}_weight': 0.0})
  loss, terms = objective(*pairs, temperature=0.1)
  (name,) = {'contrastive', 'triplet'} - {left_out}
  assert list(terms) == [name]
  assert loss == terms[name]


@pytest.mark.parametrize('mask', [False, True])
def test_the_mask_reaches_the_triplet(pairs, mask):
  settings = SETTINGS | {'contrastive_weight': 0.0, 'mask_same_image': mask}
  one_image = (*pairs[:2], np.zeros(6, np.int32))
  loss, _ = make_objective(**settings)(*one_image, temperature=0.1)
  assert bool(loss == 0) == mask


def test_all_pairs_of_one_image_have_finite_gradients(pairs):
  objective = make_objective(
    **SETTINGS | {'mask_same_image': True, 'triplet_reduction': 'mean'}
  )
  value, gradient = jax.value_and_grad(
    lambda u: objective(u, pairs[1], np.zeros(6, np.int32), temperature=0.1)[0]
  )(pairs[0])
  assert np.isfinite(value)
  assert np.isfinite(gradient).all()


@pytest.mark.parametrize(('one', 'other'), [(0, 0), (-1, 1), (1, -0.5)])
def test_weights_that_train_nothing_are_the_users_mistake(one, other):
  with pytest.raises(UserError, match=f'contrastive_weight={one}, .*={other}'):
    make_objective(**SETTINGS | {'contrastive_weight': one, 'triplet_weight': other})


def test_unknown_reduction_is_the_users_mistake():
  with pytest.raises(UserError, match="one of mean, sum; found 'median'"):
    make_objective(**SETTINGS | {'triplet_reduction': 'median'})


@pytest.fixture
def warnings(monkeypatch):
  found = []
  monkeypatch.setattr(
    logging, 'warning', lambda message, *args: found.append(message % args)
  )
  return found


def test_sum_warns_of_its_weight_at_another_batch(warnings):
  warn_of_sum(triplet_reduction='sum', triplet_weight=1.0, batch_size=4280)
  (warning,) = warnings
  assert 'at 4280 pairs the triplet loss weighs 1e+02 times' in warning
  assert '`mean` keeps' in warning


@pytest.mark.parametrize(
  'changed',
  [{'triplet_reduction': 'mean'}, {'triplet_weight': 0.0}, {'batch_size': 428}],
)
def test_sum_is_silent_where_nothing_changes(warnings, changed):
  settings = {'triplet_reduction': 'sum', 'triplet_weight': 1.0, 'batch_size': 64}
  warn_of_sum(**settings | changed)
  assert not warnings
