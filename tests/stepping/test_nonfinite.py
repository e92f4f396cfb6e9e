"""Which samples of a batch have embeddings that are not finite, and their names."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from harma_jax.data.annotations import load_captions
from harma_jax.devices.mesh import make_mesh, place_batch, place_everywhere
from harma_jax.model.preprocessing import OPENAI
from harma_jax.stepping.microbatch import at_once, make_in_parts
from harma_jax.stepping.nonfinite import describe_samples, make_finite_samples

WHITE, BAD_WORD = 255, 3


class Towers:
  """Not finite for white images and for captions with the word 3."""

  size = types.SimpleNamespace(preprocessing=OPENAI)

  def encode_image(self, params, images):
    white = images.max(axis=(1, 2, 3)) > 2.1
    return jnp.where(white, jnp.nan, 1.0)[:, None] * params['weight'][None]

  def encode_text(self, params, tokens):
    bad = (tokens == BAD_WORD).any(axis=1)
    return jnp.where(bad, jnp.inf, 1.0)[:, None] * params['weight'][None]


@pytest.mark.parametrize('in_parts', [False, True])
@pytest.mark.parametrize('several', [False, True])
def test_a_caption_is_bad_by_itself_or_by_its_image(several, in_parts):
  images = np.zeros((8, 4, 4, 3), np.uint8)
  images[5, 1, 2] = WHITE
  tokens = np.full((8, 2, 6), 1, np.int32)
  tokens[2, 0, 4] = tokens[6, 1, 0] = BAD_WORD
  rows = np.arange(100, 116, dtype=np.int32).reshape(8, 2)
  expected = np.ones((8, 2), bool)
  expected[2, 0] = expected[6, 1] = expected[5] = False
  if not several:
    tokens, rows, expected = tokens[:, 0], rows[:, 0], expected[:, :1]
  mesh = make_mesh(devices=jax.devices()[:2])
  over_rows = make_in_parts(size=4, mesh=mesh) if in_parts else at_once
  params, resident = place_everywhere(
    ({'weight': np.ones(4, np.float32)}, {'tokens': tokens}), mesh=mesh
  )
  batch = place_batch({'images': images, 'rows': rows}, mesh=mesh)
  find = make_finite_samples(
    Towers(), lambda resident, batch: resident | batch, mesh=mesh, over_rows=over_rows
  )
  found_rows, finite = jax.device_get(find(params, resident, batch))
  np.testing.assert_array_equal(found_rows, rows.reshape(8, -1))
  np.testing.assert_array_equal(finite, expected)


@pytest.fixture
def table(small_data):
  return load_captions(small_data, split='train')


def test_bad_samples_are_named_with_row_image_and_caption(table):
  rows, finite = np.array([[4], [9], [2]]), np.array([[True], [False], [True]])
  text = describe_samples(table, rows, finite)
  assert 'of 3 samples 1 have an embedding that is not finite' in text
  assert text.endswith(
    f'row 9, {table.image_path(4)}, {"train_4 shows boats on a river"!r}'
  )


def test_the_first_of_the_batch_are_named_where_all_embeddings_are_finite(table):
  rows = np.arange(23, 7, -1).reshape(8, 2)
  text = describe_samples(table, rows, np.ones((8, 2), bool))
  assert 'the embeddings of all 16 samples are finite' in text
  assert [f'row {row},' in text for row in rows.ravel()] == [True] * 5 + [False] * 11
