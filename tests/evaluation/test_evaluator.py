import dataclasses
import types

import jax
import numpy as np
import pytest
from PIL import Image

from harma_jax.data.images import normalize, resize_for_evaluation
from harma_jax.devices.mesh import make_mesh
from harma_jax.errors import UserError
from harma_jax.evaluation.evaluator import (
  EvaluationSplit,
  make_encoders,
  make_evaluator,
)
from harma_jax.evaluation.recall import (
  median_ranks,
  recall_of_ranks,
  retrieval_ranks,
)
from harma_jax.evaluation.ties import recalls_of_ties, retrieval_ties
from harma_jax.model.preprocessing import OPENAI


@pytest.fixture(scope='module')
def clip(make_clip):
  return make_clip(adapter_padding='padding')


@pytest.fixture(scope='module')
def params(clip, random_params):
  return random_params(clip)


@pytest.fixture(scope='module')
def split(toy_batch):
  """Eleven images and thirteen captions, five of them the same string as another."""
  rng = np.random.default_rng(0)
  return EvaluationSplit(
    name='val',
    images=rng.integers(0, 256, (11, 16, 16, 3)).astype(np.uint8),
    tokens=np.concatenate([toy_batch['tokens'], toy_batch['tokens'][[0, 0, 3, 2, 7]]]),
    caption_image=np.array([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 0, 1]),
    groups=np.array([*range(8), 0, 0, 3, 2, 7]),
  )


@pytest.fixture(scope='module')
def features(clip, params, split):
  """The features of the split in one batch."""
  images = jax.jit(clip.encode_image)(params, normalize(split.images))
  return np.asarray(images), np.asarray(jax.jit(clip.encode_text)(params, split.tokens))


@pytest.fixture(scope='module', params=[(1, 1), (8, 1), (8, 2)], ids=str)
def mesh(request):
  devices, fsdp = request.param
  return make_mesh(fsdp=fsdp, devices=jax.devices()[:devices])


def test_batches_and_devices_do_not_matter(clip, params, split, features, mesh):
  encoders = make_encoders(clip, mesh=mesh, batch_size=8)
  for encode, rows, expected in zip(
    encoders, (split.images, split.tokens), features, strict=True
  ):
    computed = encode(params, rows)
    assert isinstance(computed, np.ndarray)
    np.testing.assert_allclose(computed, expected, atol=1e-6)
    np.testing.assert_allclose(encode(params, rows[:3]), expected[:3], atol=1e-6)


@pytest.mark.parametrize('length', [12, 18, 40])
def test_tiles_of_another_size_have_the_features_of_pillows_resize(
  clip, params, mesh, length
):
  encode, _ = make_encoders(clip, mesh=mesh, batch_size=8)
  rng = np.random.default_rng(length)
  tiles = rng.integers(0, 256, (11, length, length, 3)).astype(np.uint8)
  resized = [resize_for_evaluation(Image.fromarray(tile), side=16) for tile in tiles]
  np.testing.assert_array_equal(
    encode(params, tiles), encode(params, np.stack(resized))
  )


def test_the_evaluator_gives_the_recall_of_all_captions(clip, params, split, features):
  evaluate = make_evaluator(clip, mesh=make_mesh(), batch_size=8)
  image_features, text_features = features
  scores = image_features @ text_features.T
  ranks = retrieval_ranks(scores, split.caption_image)
  ties = recalls_of_ties(retrieval_ties(scores, split.caption_image))
  expected = recall_of_ranks(ranks) | ties | median_ranks(ranks)
  assert evaluate(params, split) == pytest.approx(expected)
  assert 0 < expected['mean_recall'] < 100


class Lookup:
  """Image `i` and its captions are the unit vector `i`; counts what it is asked."""

  size = types.SimpleNamespace(image_size=2, preprocessing=OPENAI)

  def __init__(self):
    self.traced = []

  def encode_image(self, params, images):
    self.traced.append(images.shape)
    first = (images[:, 0, 0, 0] * params['std'] + params['mean']) * 255
    return jax.nn.one_hot(jax.numpy.round(first).astype(int), 4)

  def encode_text(self, params, tokens):
    self.traced.append(tokens.shape)
    return jax.nn.one_hot(tokens[:, 0], 4)


def test_right_captions_are_found_and_shapes_compiled_once():
  model, mesh = Lookup(), make_mesh()
  params = {'std': np.float32(0.26862954), 'mean': np.float32(0.48145466)}
  images = np.arange(4, dtype=np.uint8)[:, None, None, None] * np.ones(
    (4, 2, 2, 3), np.uint8
  )
  owner = np.repeat(np.arange(4), 5)[::-1].copy()
  tokens = np.stack([owner, np.arange(20)], axis=1).astype(np.int32)
  evaluate = make_evaluator(model, mesh=mesh, batch_size=8)
  split = EvaluationSplit(
    name='val',
    images=images,
    tokens=tokens,
    caption_image=owner,
    groups=np.arange(20),
  )
  right, wrong = split, dataclasses.replace(split, caption_image=(owner + 1) % 4)
  assert evaluate(params, right)['i2t_r1'] == evaluate(params, right)['t2i_r1'] == 100
  assert evaluate(params, wrong)['i2t_r1'] == evaluate(params, wrong)['t2i_r1'] == 0
  # Four images and twenty captions in batches of eight: one shape of each tower.
  assert model.traced == [(8, 2, 2, 3), (8, 2)]


def test_features_that_are_not_finite_are_refused(clip, params, split):
  evaluate = make_evaluator(clip, mesh=make_mesh(), batch_size=8)
  table = params['text']['token_embedding'].at[split.tokens[2, 1]].set(np.nan)
  params = params | {'text': params['text'] | {'token_embedding': table}}
  count = (split.tokens == split.tokens[2, 1]).any(axis=1).sum()
  with pytest.raises(
    UserError, match=rf'^val: .* of {count} of 13 captions \(the first'
  ):
    evaluate(params, split)
