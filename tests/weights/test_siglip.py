"""SigLIP and Long-CLIP: features and gradients as the libraries compute them."""

import dataclasses
import functools
import importlib
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from harma_jax.building.params import build_fresh
from harma_jax.model.adapter import AdapterSettings
from harma_jax.model.clip import Clip
from harma_jax.model.families import SIGLIP
from harma_jax.model.sizes import Size, TowerSize, named_size
from harma_jax.weights.load import load_weights
from harma_jax.weights.names import names_of, paths_of, take
from harma_jax.weights.recognise import check_settings, recognise
from harma_jax.weights.sources import open_source

TOLERANCE = 1e-5
ADAPTER = AdapterSettings(bottleneck=8, shared_bottleneck=4, heads=2)


def model_of(path, *, adapter=None, size=None):
  """The source at a path, the model that it says it is of, and its parameters."""
  source = open_source(str(path))
  if size is None:
    name, side = recognise(source)
    size = named_size(name, image_size=side)
  model = Clip(size=size, adapter=adapter)
  check_settings(source, model.size)
  fresh = build_fresh(model, jax.random.key(0))
  return source, model, load_weights(source, fresh, model=model)


@functools.partial(jax.jit, static_argnums=0)
def encode(model, params, images, tokens):
  return model.encode_image(params, images), model.encode_text(params, tokens)


def assert_features(model, params, inputs, expected):
  images, tokens = jnp.asarray(inputs[0]), jnp.asarray(inputs[1], jnp.int32)
  found = encode(model, params, images.transpose(0, 2, 3, 1), tokens)
  for one, other in zip(found, expected, strict=True):
    np.testing.assert_allclose(one, other, atol=TOLERANCE, rtol=0)
    assert np.std(other, axis=0).max() > 1e-3  # not one and the same for all


def numpy_of(features):
  return [part.detach().numpy() for part in features]


def assert_gradients(source, model, params, inputs, theirs):
  """Those of a random direction of the features, by every parameter."""
  rng = np.random.default_rng(5)
  images, tokens = jnp.asarray(inputs[0]), jnp.asarray(inputs[1], jnp.int32)
  shape = len(tokens), model.size.embedding
  directions = [rng.normal(size=shape).astype(np.float32) for _ in range(2)]

  @jax.jit
  @jax.grad
  def gradient(params):
    found = encode(model, params, images.transpose(0, 2, 3, 1), tokens)
    return sum(jnp.sum(a * b) for a, b in zip(found, directions, strict=True))

  torch = importlib.import_module('torch')
  features, parameters = theirs
  total = sum(
    (one * torch.from_numpy(other)).sum()
    for one, other in zip(features, directions, strict=True)
  )
  total.backward()
  given = {
    name: np.zeros(p.shape, np.float32) if p.grad is None else p.grad.numpy()
    for name, p in parameters.items()
  }
  found = paths_of(gradient(params))
  del found['temperature']
  names = names_of(
    found,
    layout=source.layout,
    image_layers=model.size.image.layers,
    text_layers=model.size.text.layers,
  )
  for path, expected in take(names, given):
    scale = max(np.abs(expected).max(), 1)
    np.testing.assert_allclose(
      found[path], expected, atol=TOLERANCE * scale, rtol=0, err_msg=path
    )
    assert np.abs(expected).max() > 0 or path in ('logit_scale', 'logit_bias')


def words_of(size):
  """A `Size` in the words of make_golden_siglip."""
  towers = {
    name: (tower.width, tower.layers, tower.heads, tower.inner)
    for name, tower in (('image', size.image), ('text', size.text))
  }
  return dataclasses.asdict(size) | towers


TOYS = {
  # The towers, the side and its patches, the words and the context of each.
  'siglip': named_size(
    'tiny-siglip,image.layers=2,text.layers=2,vocabulary=320', image_size=32
  ),
  'siglip2': named_size('tiny-siglip,image.layers=2,vocabulary=2560', image_size=64),
  # Patches of 14 in 55 pixels: 3 a side, 13 pixels are not seen; the MLP is narrower.
  'so400m': named_size(
    'tiny-siglip,image.layers=2,patch_size=14,vocabulary=320,image.mlp_width=478,'
    'text.mlp_width=478',
    image_size=55,
  ),
}


@pytest.mark.parametrize('toy', TOYS)
def test_features_and_gradients_are_those_of_transformers(tmp_path, siglips, toy):
  words = words_of(TOYS[toy])
  theirs = siglips.huggingface_model(words)
  theirs.save_pretrained(tmp_path)
  source, model, params = model_of(tmp_path)
  assert model.size == TOYS[toy]
  inputs = siglips.inputs_of(words)
  features = siglips.features_of(theirs, *inputs)
  assert_features(model, params, inputs, numpy_of(features))
  parameters = dict(theirs.named_parameters())
  assert_gradients(source, model, params, inputs, (features, parameters))


# A timm tower, the GELU of the text tower, and what our name of both says.
OPEN_CLIP = {
  'v1': ('vit_base_patch16_siglip_224', False, ',activation=gelu'),
  'v2': (
    'vit_base_patch16_siglip_224',
    True,
    ',activation=gelu,text_activation=gelu_tanh',
  ),
  'tanh': ('vit_so400m_patch16_siglip_256', True, ',patch_size=14,vocabulary=320'),
}


@pytest.mark.parametrize('kind', OPEN_CLIP)
def test_features_and_gradients_are_those_of_openclip(
  tmp_path, torch, open_clip, siglips, kind
):
  timm_model, tanh, said = OPEN_CLIP[kind]
  size = TOYS['so400m']
  words = words_of(size)
  theirs = siglips.siglip_of_open_clip(words, timm_model=timm_model, tanh=tanh)
  torch.save(theirs.state_dict(), tmp_path / 'open_clip_pytorch_model.bin')
  config = siglips.open_clip_config(words, timm_model=timm_model, tanh=tanh)
  (tmp_path / 'open_clip_config.json').write_text(json.dumps({'model_cfg': config}))
  source, model, params = model_of(tmp_path)
  assert said in recognise(source)[0]
  assert model.size.activation == ('gelu_tanh' if kind == 'tanh' else 'gelu')
  inputs = siglips.inputs_of(words)
  features = siglips.features_of(theirs, *inputs)
  assert_features(model, params, inputs, numpy_of(features))
  parameters = dict(theirs.named_parameters())
  assert_gradients(source, model, params, inputs, (features, parameters))


def test_long_clip_has_one_table_of_248_positions(
  tmp_path, torch, open_clip, libraries, siglips
):
  size = named_size('tiny-quickgelu,context_length=248,image.layers=2')
  words = words_of(size) | {'vocabulary': size.vocabulary}
  theirs, state = siglips.long_clip_model(words)
  torch.save(state, tmp_path / 'longclip.pt')
  source, model, params = model_of(tmp_path / 'longclip.pt')
  assert source.format == 'long_clip'
  assert recognise(source)[0] == 'tiny-quickgelu,image.layers=2,context_length=248'
  assert params['text']['position_embedding'].shape == (248, 128)
  inputs = libraries.inputs_of(words)
  features = siglips.features_of(theirs, *inputs)
  assert_features(model, params, inputs, numpy_of(features))
  parameters = dict(theirs.named_parameters())
  # Its one table stands for both of Long-CLIP's.
  parameters['positional_embedding_res'] = parameters['positional_embedding']
  assert_gradients(source, model, params, inputs, (features, parameters))


def test_long_clip_that_was_trained_by_openclip_may_have_a_wrapper(
  tmp_path, torch, open_clip, siglips
):
  size = named_size('tiny-quickgelu,context_length=248,text.layers=1,image.layers=1')
  _, state = siglips.long_clip_model(words_of(size))
  wrapped = {f'module.{name}': tensor for name, tensor in state.items()}
  torch.save({'epoch': 3, 'state_dict': wrapped}, tmp_path / 'far.pt')
  assert model_of(tmp_path / 'far.pt')[1].size == size


@pytest.fixture(scope='module')
def golden_siglip(golden_dir):
  """The golden inputs, and `<program>/image` and `/text`, of both programs."""
  return dict(np.load(golden_dir / 'siglip/features.npz'))


@pytest.fixture(scope='module')
def toy(golden_siglip):
  """`toy(**changes)`: the size of the golden ones, in the words of the program."""
  words = json.loads(str(golden_siglip['size']))
  fields = ('width', 'layers', 'heads', 'mlp_width')
  towers = {
    name: TowerSize(**dict(zip(fields, words[name], strict=True)))
    for name in ('image', 'text')
  }
  return functools.partial(Size, **words | towers, family=SIGLIP, logit_bias=True)


GOLDEN = {
  'huggingface': {'activation': 'gelu_tanh'},
  'open_clip': {'activation': 'gelu', 'text_activation': 'gelu_tanh'},
}


@pytest.mark.parametrize('program', GOLDEN)
@pytest.mark.parametrize('adapter', [None, ADAPTER])
def test_golden_features_without_torch(
  golden_dir, golden_siglip, toy, program, adapter
):
  path, size = golden_dir / 'siglip' / program, toy(**GOLDEN[program])
  _, model, params = model_of(path, adapter=adapter, size=size)
  inputs = golden_siglip['images'], golden_siglip['tokens']
  expected = [golden_siglip[f'{program}/{tower}'] for tower in ('image', 'text')]
  assert_features(model, params, inputs, expected)
