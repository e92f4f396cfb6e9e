"""The kernel, interpreted, beside plain attention in float64, and its gradient."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from harma_jax.devices.mesh import make_mesh
from harma_jax.model import attention_pallas

attend = functools.partial(attention_pallas.attend, interpret=True)

# Heads and their width: a part of a tile, one across two tiles, several tiles.
SHAPES = {
  'of the shared adapter': (8, 8),
  'of the adapter': (8, 16),
  'across tiles': (6, 24),
  'of CLIP': (3, 64),
  'wider than half a tile': (4, 72),
  'of ViT-H': (4, 80),
  'wider than a tile': (2, 136),
}
FORMS = {
  'all': {},
  'causal': {'causal': True},
  'masked': {'masked': True},
  'valid': {'valid': 10},
  'causal, masked and valid': {'causal': True, 'masked': True, 'valid': 10},
}
BATCH, LENGTH = 3, 13


def plain(qkv, allowed, *, heads):
  """Attention in the dtype of `qkv`; `allowed` bool[B, L, L], query by key."""
  batch, length, width = qkv.shape
  query, key, value = (
    part.reshape(batch, length, heads, width // 3 // heads)
    for part in jnp.split(qkv, 3, axis=-1)
  )
  scores = jnp.einsum('bihd,bjhd->bhij', query, key) / np.sqrt(query.shape[-1])
  scores = jnp.where(allowed[:, None], scores, -np.inf)
  powers = jnp.exp(scores - scores.max(axis=-1, keepdims=True))
  weights = powers / powers.sum(axis=-1, keepdims=True)
  attended = jnp.einsum('bhij,bjhd->bihd', weights, value)
  return attended.reshape(batch, length, width // 3)


def in_float64(qkv, cotangent, *, heads, mask, causal, valid):
  """The value and the gradient of `plain`."""
  batch, length, _ = qkv.shape
  allowed = np.ones((batch, length, length), bool)
  allowed &= np.arange(length) < (valid or length)
  if causal:
    allowed &= np.tri(length, dtype=bool)
  if mask is not None:
    allowed &= mask[:, None]
  with jax.enable_x64(True):
    value, pull_back = jax.vjp(
      functools.partial(plain, allowed=allowed, heads=heads), jnp.float64(qkv)
    )
    assert value.dtype == jnp.float64
    return np.asarray(value), np.asarray(pull_back(jnp.float64(cotangent))[0])


def make_inputs(*, heads, width, batch=BATCH, length=LENGTH, masked=False):
  """Queries, keys and values, a cotangent, and a mask or None."""
  rng = np.random.default_rng(heads * width + batch)
  qkv = rng.normal(size=(batch, length, 3 * heads * width)).astype(np.float32)
  cotangent = rng.normal(size=(batch, length, heads * width)).astype(np.float32)
  mask = rng.random((batch, length)) < 0.6
  mask[:, 0] = True  # a position attends to one at least
  return qkv, cotangent, mask if masked else None


@functools.partial(jax.jit, static_argnames=('heads', 'causal', 'valid', 'mesh'))
def value_and_gradient(qkv, cotangent, mask, *, heads, causal, valid=0, mesh=None):
  value, pull_back = jax.vjp(
    lambda qkv: attend(qkv, mask, heads=heads, causal=causal, valid=valid, mesh=mesh),
    qkv,
  )
  return value, pull_back(cotangent.astype(value.dtype))[0]


def check(*, heads, width, causal=False, masked=False, valid=0, **sizes):
  qkv, cotangent, mask = make_inputs(heads=heads, width=width, masked=masked, **sizes)
  settings = {'heads': heads, 'causal': causal, 'valid': valid}
  expected = in_float64(qkv, cotangent, mask=mask, **settings)
  computed = value_and_gradient(qkv, cotangent, mask, **settings)
  for one, other in zip(computed, expected, strict=True):
    assert one.dtype == jnp.float32
    np.testing.assert_allclose(one, other, rtol=1e-5, atol=4e-6)


@pytest.mark.parametrize('shape', SHAPES)
def test_heads_of_any_width_equal_float64(shape):
  heads, width = SHAPES[shape]
  check(heads=heads, width=width)


@pytest.mark.parametrize('form', FORMS)
def test_what_may_be_attended_to_equals_float64(form):
  check(heads=6, width=24, **FORMS[form])


@pytest.mark.parametrize('length', [1, 8, 77])
def test_sequences_of_any_length_equal_float64(length):
  check(heads=2, width=16, causal=True, length=length)


@pytest.mark.parametrize(('batch', 'block'), [(7, 3), (6, 2), (3, 8), (5, 0)])
def test_blocks_of_samples_need_not_divide_the_batch(monkeypatch, batch, block):
  blocks, call = set(), attention_pallas.pl.pallas_call

  def note(kernel, *, in_specs, **settings):
    blocks.add((in_specs[0].block_shape[0], settings['grid']))
    return call(kernel, in_specs=in_specs, **settings)

  sample = LENGTH * 3 * 32 * 4  # bytes
  monkeypatch.setattr(attention_pallas, 'BLOCK_BYTES', block * sample + sample // 2)
  monkeypatch.setattr(attention_pallas.pl, 'pallas_call', note)
  value_and_gradient.clear_cache()
  check(heads=2, width=16, batch=batch, masked=True)
  value_and_gradient.clear_cache()
  block = max(min(block, batch), 1)
  assert blocks == {(block, (-(-batch // block),))}


def test_no_gradient_reaches_what_may_not_be_attended_to():
  qkv, cotangent, _ = make_inputs(heads=2, width=16)
  settings = {'heads': 2, 'causal': False, 'valid': 10}
  cotangent[:, 10:] = 0
  changed = qkv.copy()
  changed[:, 10:] *= -3
  found = value_and_gradient(qkv, cotangent, None, **settings)
  others = value_and_gradient(changed, cotangent, None, **settings)
  for one, other in zip(found, others, strict=True):
    np.testing.assert_array_equal(one[:, :10], other[:, :10])
  assert not found[1][:, 10:].any()


@pytest.mark.parametrize('form', ['all', 'causal, masked and valid'])
def test_half_precision_is_near_by_its_rounding(form):
  settings = {'causal': False, 'valid': 0} | FORMS[form]
  qkv, cotangent, mask = make_inputs(
    heads=8, width=16, masked=settings.pop('masked', False)
  )
  half = jnp.asarray(qkv, jnp.bfloat16), jnp.asarray(cotangent, jnp.bfloat16)
  full = [rows.astype(jnp.float32) for rows in half]
  rounded = value_and_gradient(*half, mask, heads=8, **settings)
  expected = value_and_gradient(*full, mask, heads=8, **settings)
  unit = 2**-8  # of bfloat16, by which two roundings to it may differ
  for one, other in zip(rounded, expected, strict=True):
    assert one.dtype == jnp.bfloat16
    missed = np.asarray(one, np.float32) - other
    assert np.linalg.norm(missed) < unit * np.linalg.norm(other)
    assert np.abs(missed).max() < 2 * unit * np.abs(other).max()


def test_samples_may_be_mapped_over_and_several_cotangents_pulled_back():
  qkv, cotangent, mask = make_inputs(heads=2, width=16, masked=True)
  mask = jnp.asarray(mask)
  cotangents = np.stack([cotangent, 2 * cotangent[::-1]], axis=1)

  def of_sample(qkv, cotangents, mask, *, mesh=None):
    value, pull_back = jax.vjp(
      lambda rows: attend(rows, mask[None], heads=2, causal=True, mesh=mesh), qkv[None]
    )
    pulled = jax.vmap(lambda rows: pull_back(rows[None])[0][0])(cotangents)
    return value[0], pulled

  settings = {'heads': 2, 'causal': True}
  for mesh in (None, make_mesh(fsdp=2)):
    mapped = jax.jit(jax.vmap(functools.partial(of_sample, mesh=mesh)))
    values, pulled = mapped(qkv, cotangents, mask)
    for i in range(2):
      value, gradient = value_and_gradient(qkv, cotangents[:, i], mask, **settings)
      np.testing.assert_allclose(values, value, rtol=1e-6, atol=1e-6)
      np.testing.assert_allclose(pulled[:, i], gradient, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(('batch', 'shards'), [(16, 8), (6, 1)])
def test_over_eight_devices_equals_one(batch, shards):
  """Each takes its rows, or all of them where eight do not divide them."""
  qkv, cotangent, mask = make_inputs(heads=2, width=16, batch=batch, masked=True)
  settings = {'heads': 2, 'causal': True, 'valid': 12}
  over = value_and_gradient(qkv, cotangent, mask, mesh=make_mesh(fsdp=2), **settings)
  one = value_and_gradient(qkv, cotangent, mask, **settings)
  for rows, expected in zip(over, one, strict=True):
    assert len(rows.sharding.device_set) == 8
    assert rows.addressable_shards[0].data.shape[0] == batch // shards
    np.testing.assert_allclose(rows, expected, rtol=1e-6, atol=1e-6)


FOR_V5E = """
import jax
import jax.numpy as jnp
from harma_jax.devices import absent
from harma_jax.devices.mesh import batch_sharding, make_mesh
from harma_jax.devices.targets import read_topology
from harma_jax.model.attention_pallas import attend

topology = read_topology('v5e:2x2')
absent.prepare([topology])
mesh = make_mesh(devices=absent.devices_of(topology))


def both_ways(qkv, mask, *, heads, causal):
  def loss(qkv):
    attended = attend(qkv, mask, heads=heads, causal=causal, valid=9, mesh=mesh)
    return attended.astype(jnp.float32).sum()

  return jax.value_and_grad(loss)(qkv)


for heads, width, causal, length in (
  *((8, 8, False, 16), (12, 64, True, 16), (4, 80, True, 16)),
  (16, 72, False, 736),  # needs more of the vector memory than is usual
):
  rows = batch_sharding(mesh)
  shape = 8, length, 3 * heads * width
  qkv = jax.ShapeDtypeStruct(shape, jnp.bfloat16, sharding=rows)
  mask = jax.ShapeDtypeStruct((8, length), bool, sharding=rows)
  of_shape = jax.jit(both_ways, static_argnames=('heads', 'causal'))
  lowered = of_shape.lower(qkv, mask, heads=heads, causal=causal)
  text = lowered.compile().as_text()
  print(*(f'{way}_of_sample' in text for way in ('forward', 'backward')))
"""


def test_tpus_that_are_not_there_compile_it(run_with_libtpu):
  lines = run_with_libtpu('-c', FOR_V5E).stdout.splitlines()
  assert lines == ['True True'] * 4
