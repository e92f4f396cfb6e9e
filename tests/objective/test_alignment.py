import collections
import functools
import re

import jax
import numpy as np
import pytest
from absl import logging

from harma_jax.devices.mesh import make_mesh, place_batch
from harma_jax.errors import UserError
from harma_jax.objective.alignment import make_objective, warn_of_sum
from harma_jax.objective.anchors import over_anchors
from harma_jax.objective.contrastive import contrastive
from harma_jax.objective.logits import Logits
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
  loss, terms = make_objective(**settings)(*pairs, logits=Logits(0.1))

  def contrastive_of(similarity, own, same):
    return contrastive(similarity, same, logits=Logits(0.1))

  def triplet_of(similarity, own, same):
    return adaptive_triplet(
      *(similarity, own, same),
      margin=0.3,
      gamma=1.5,
      reduction='sum',
      mask_same_image=False,
    )

  first = over_anchors(contrastive_of, *pairs).mean()
  second = over_anchors(triplet_of, *pairs).mean()
  assert {name: float(term) for name, term in terms.items()} == pytest.approx(
    {'contrastive': float(first), 'triplet': float(second)}
  )
  assert loss == pytest.approx(0.5 * first + 3 * second)


@pytest.mark.parametrize('left_out', ['contrastive', 'triplet'])
def test_a_term_of_weight_zero_is_not_computed(pairs, left_out):
  objective = make_objective(**SETTINGS | {f'{left_out}_weight': 0.0})
  loss, terms = objective(*pairs, logits=Logits(0.1))
  (name,) = {'contrastive', 'triplet'} - {left_out}
  assert list(terms) == [name]
  assert loss == terms[name]


@pytest.mark.parametrize('mask', [False, True])
def test_the_mask_reaches_the_triplet(pairs, mask):
  settings = SETTINGS | {'contrastive_weight': 0.0, 'mask_same_image': mask}
  one_image = (*pairs[:2], np.zeros(6, np.int32))
  loss, _ = make_objective(**settings)(*one_image, logits=Logits(0.1))
  assert bool(loss == 0) == mask


def test_all_pairs_of_one_image_have_finite_gradients(pairs):
  objective = make_objective(
    **SETTINGS | {'mask_same_image': True, 'triplet_reduction': 'mean'}
  )
  value, gradient = jax.value_and_grad(
    lambda u: objective(u, pairs[1], np.zeros(6, np.int32), logits=Logits(0.1))[0]
  )(pairs[0])
  assert np.isfinite(value)
  assert np.isfinite(gradient).all()


@pytest.mark.parametrize(('one', 'other'), [(0, 0), (-1, 1), (1, -0.5)])
def test_weights_that_train_nothing_are_the_users_mistake(one, other):
  with pytest.raises(UserError, match=f'contrastive_weight={one}, .*={other}'):
    make_objective(**SETTINGS | {'contrastive_weight': one, 'triplet_weight': other})


def test_an_unknown_loss_is_the_users_mistake():
  with pytest.raises(UserError, match=r'contrastive: expected one of softmax, sigmoid'):
    make_objective(**SETTINGS, contrastive='hinge')


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


@pytest.fixture(scope='module')
def large():
  u, v = np.random.default_rng(1).normal(size=(2, 48, 8)).astype(np.float32)
  u, v = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (u, v))
  return u, v, np.arange(48, dtype=np.int32) // 3


LOSSES = pytest.mark.parametrize('contrastive', ['softmax', 'sigmoid'])


def with_gradients(objective, u, v, ids):
  loss, (of_u, of_v, of_logits) = jax.jit(
    jax.value_and_grad(
      lambda u, v, logits: objective(u, v, ids, logits=logits)[0], argnums=(0, 1, 2)
    )
  )(u, v, Logits(0.1, -2.0))
  return loss, (of_u, of_v, *of_logits)


@pytest.mark.parametrize('chunk', [1, 16, 20, 47])
@pytest.mark.parametrize('reduction', ['mean', 'sum'])
@LOSSES
def test_chunks_change_nothing(large, chunk, reduction, contrastive):
  settings = SETTINGS | {'triplet_reduction': reduction, 'contrastive': contrastive}
  expected, gradients = with_gradients(make_objective(**settings), *large)
  found, chunked = with_gradients(make_objective(**settings, chunk=chunk), *large)
  np.testing.assert_allclose(found, expected, rtol=1e-6)
  for one, other in zip(chunked, gradients, strict=True):
    np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6 * abs(other).max())


@LOSSES
def test_chunks_change_nothing_over_devices(large, contrastive):
  settings = SETTINGS | {'contrastive': contrastive}
  mesh = make_mesh()
  placed = place_batch(dict(zip('uvi', large, strict=True)), mesh=mesh).values()
  expected, gradients = with_gradients(make_objective(**settings), *large)
  found, chunked = with_gradients(make_objective(**settings, chunk=16), *placed)
  np.testing.assert_allclose(found, expected, rtol=1e-6)
  for one, other in zip(chunked, gradients, strict=True):
    np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6 * abs(other).max())


def products(f, *arguments):
  """How often each shape of a matrix product comes in the lowered program."""
  text = jax.jit(f).lower(*arguments).as_text()
  return collections.Counter(re.findall(r'dot_general.*-> tensor<(\d+x\d+)xf32>', text))


@LOSSES
def test_one_matrix_of_similarities_feeds_both_losses(large, contrastive):
  objective = make_objective(**SETTINGS, contrastive=contrastive)
  forward = products(
    lambda *pairs: objective(*pairs, logits=Logits(0.1, -2.0))[0], *large
  )
  assert forward == {'48x48': 1}
  both = products(lambda *pairs: with_gradients(objective, *pairs), *large)
  assert both['48x48'] == 1
  assert both.total() == 3  # and one each for the images' and the captions' gradient


@LOSSES
def test_chunks_hold_no_whole_matrix(large, contrastive):
  objective = make_objective(**SETTINGS, contrastive=contrastive, chunk=16)
  both = products(lambda *pairs: with_gradients(objective, *pairs), *large)
  assert both['16x48']
  assert not both['48x48']


def test_a_negative_chunk_is_the_users_mistake():
  with pytest.raises(UserError, match=r'objective\.chunk: expected a number of rows'):
    make_objective(**SETTINGS, chunk=-1)


@LOSSES
def test_memory_grows_with_the_batch_and_not_with_its_square(contrastive):
  objective = make_objective(
    **SETTINGS | {'triplet_weight': 0.0}, contrastive=contrastive, chunk=64
  )

  def taken(n):
    shapes = [jax.ShapeDtypeStruct((n, 8), np.float32)] * 2
    ids = jax.ShapeDtypeStruct((n,), np.int32)
    found = jax.jit(functools.partial(with_gradients, objective)).lower(*shapes, ids)
    return found.compile().memory_analysis().temp_size_in_bytes

  assert taken(2048) < 3 * taken(1024)
