import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from harma_jax.augment.batch import augment_batch, keys_of
from harma_jax.augment.forms import ALL_AT_ONCE, BY_KERNEL, ONE_BY_ONE, forms_of
from harma_jax.augment.rand_augment import by_kernel

FORMS = {
  'one by one': ONE_BY_ONE,
  'by kernel': BY_KERNEL._replace(
    operate=functools.partial(by_kernel, interpret=True), group=30
  ),
  'in groups': ALL_AT_ONCE._replace(group=7),
  'in groups that do not divide the batch': ALL_AT_ONCE._replace(group=59),
}


@pytest.fixture(scope='module')
def batch():
  """Sixty images: most of them draw an operation, all operations are drawn."""
  rng = np.random.default_rng(0)
  images = rng.integers(0, 256, (60, 28, 28, 3)).astype(np.uint8)
  sizes = rng.integers(12, 29, (60, 2)).astype(np.int32)
  return images, sizes, keys_of(5, jnp.int32(2), jnp.arange(60))


def _augment(batch, forms):
  augment = functools.partial(augment_batch, side=20, quarter_turns=True, forms=forms)
  return np.asarray(jax.jit(augment)(*batch))


@pytest.fixture(scope='module')
def expected(batch):
  return _augment(batch, ALL_AT_ONCE)


@pytest.mark.parametrize('name', FORMS)
def test_all_forms_give_the_same_bits(batch, expected, name):
  np.testing.assert_array_equal(_augment(batch, FORMS[name]), expected)


def test_platforms_have_the_forms_that_suit_them():
  assert forms_of('cpu') is ONE_BY_ONE
  assert forms_of('tpu') is BY_KERNEL
  for platform in ('gpu', 'cuda', 'rocm', 'METAL'):
    assert forms_of(platform) is ALL_AT_ONCE
