"""Graphs of ONNX, run by onnxruntime: the features are ours."""

import functools
import importlib.util
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from harma_jax.errors import UserError
from harma_jax.model.families import CLIP, SIGLIP
from harma_jax.weights import onnx as module
from harma_jax.weights.formats import OPSET
from harma_jax.weights.onnx import write_onnx

TOLERANCE = 1e-4
CASES = {
  'CLIP': (CLIP, {'adapter': None, 'activation': 'quick_gelu'}),
  'CLIP with HarMA': (CLIP, {'adapter_padding': 'padding', 'shared_adapter': 'both'}),
  'SigLIP': (SIGLIP, {'adapter': None, 'activation': 'gelu_tanh'}),
  'SigLIP with HarMA': (SIGLIP, {'activation': 'gelu_tanh'}),
}


@pytest.fixture
def onnxruntime(transformers):
  for name in ('onnx', 'onnxscript'):
    pytest.importorskip(name)
  return pytest.importorskip('onnxruntime')


@functools.partial(jax.jit, static_argnums=0)
def encode(clip, params, images, tokens):
  return clip.encode_image(params, images), clip.encode_text(params, tokens)


# Torch takes half a minute for the attention of HarMA.
SLOW = pytest.param('CLIP with HarMA', marks=pytest.mark.slow)


@pytest.mark.parametrize('case', ['CLIP', SLOW, 'SigLIP', 'SigLIP with HarMA'])
@pytest.mark.filterwarnings('ignore::DeprecationWarning', 'ignore::FutureWarning')
def test_onnxruntime_computes_the_same_for_any_batch(
  tmp_path, make_clip, random_params, toy_batch, onnxruntime, case
):
  family, settings = CASES[case]
  clip = make_clip(family=family, image_layers=1, text_layers=1, **settings)
  params = random_params(clip)
  write_onnx(tmp_path / 'out', params, model=clip, cleaning='sound')
  config = json.loads((tmp_path / 'out/onnx_config.json').read_text())
  assert (config['opset'], config['family']) == (OPSET, family.name)
  images = toy_batch['images'].astype(np.float32) / 127 - 1
  expected = encode(clip, params, jnp.asarray(images), toy_batch['tokens'])
  inputs = images.transpose(0, 3, 1, 2), toy_batch['tokens'].astype(np.int64)
  for graph, batch, ours in zip(
    config['graphs'].values(), inputs, expected, strict=True
  ):
    session = onnxruntime.InferenceSession(tmp_path / 'out' / graph['file'])
    [given] = session.get_inputs()
    assert [given.name, given.shape] == [graph['input'][k] for k in ('name', 'shape')]
    for rows in (slice(0, 1), slice(0, 8)):
      [found] = session.run(['features'], {given.name: batch[rows]})
      np.testing.assert_allclose(found, ours[rows], atol=TOLERANCE)
    assert np.std(ours, axis=0).max() > 1e-2


def test_what_the_exporter_needs_is_named(
  tmp_path, make_clip, random_params, monkeypatch
):
  absent = importlib.util.find_spec
  monkeypatch.setattr(
    module.importlib.util,
    'find_spec',
    lambda name: None if name == 'onnxscript' else absent(name),
  )
  clip = make_clip(adapter=None)
  with pytest.raises(UserError, match=r'onnxscript not installed.*harma_jax\[onnx\]'):
    write_onnx(tmp_path / 'out', random_params(clip), model=clip, cleaning='sound')
  assert not (tmp_path / 'out').exists()
