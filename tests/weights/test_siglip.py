"""SigLIP and Long-CLIP: features and gradients as the libraries compute them."""

import dataclasses
import functools
import importlib
import json
import re
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from PIL import Image

import harma_jax
from harma_jax.building.params import build_fresh
from harma_jax.data.tokenizer_files import canonicalize
from harma_jax.errors import UserError
from harma_jax.model.adapter import AdapterSettings
from harma_jax.model.clip import Clip
from harma_jax.model.families import SIGLIP
from harma_jax.model.pooling import AttentionPooling
from harma_jax.model.preprocessing import HALVES, Preprocessing
from harma_jax.model.sizes import Size, TowerSize, named_size
from harma_jax.weights.load import load_weights, warn_of_preprocessing
from harma_jax.weights.names import give, names_of, paths_of, take
from harma_jax.weights.recognise import check_settings, recognise
from harma_jax.weights.sources import open_source, sha256

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


TEXTS = ['A boat!', 'cab', '<pad>']


@pytest.mark.parametrize('version', [1, 2])
def test_texts_have_the_features_of_transformers(
  golden_dir, write_tokenizer, tmp_path, version
):
  transformers = pytest.importorskip('transformers')
  torch = pytest.importorskip('torch')
  folder = tmp_path / 'weights'
  shutil.copytree(golden_dir / 'siglip/huggingface', folder)
  write_tokenizer(folder, version=version, size=40)
  pad = {1: '</s>', 2: '<pad>'}[version]
  tokenizer = transformers.PreTrainedTokenizerFast(
    tokenizer_file=str(folder / 'tokenizer.json'), pad_token=pad
  )
  settings = {'padding': 'max_length', 'max_length': 6, 'return_tensors': 'pt'}
  tokens = tokenizer([canonicalize(text) for text in TEXTS], **settings).input_ids
  tower = transformers.SiglipModel.from_pretrained(folder).text_model
  with torch.no_grad():
    expected = tower(input_ids=tokens).pooler_output.numpy()
  expected /= np.linalg.norm(expected, axis=1, keepdims=True)
  model = harma_jax.load(folder, cleaning='sound')
  np.testing.assert_allclose(model.encode_texts(TEXTS), expected, atol=1e-5)
  classes = model.encode_classes(['boat'], templates=['{}'])
  np.testing.assert_allclose(classes, model.encode_texts(['boat']), atol=1e-6)


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


def tensors_of_golden(golden_dir):
  source = open_source(str(golden_dir / 'siglip/huggingface'))
  return source, dict(source.tensors)


def big_vision_of(model, params, *, scanned):
  """A file's arrays: heads of their own, and layers stacked as a scan keeps them."""
  leaves = paths_of(params)
  size = model.size
  names = names_of(
    [path for path in leaves if path != 'temperature'],
    layout='big_vision',
    image_layers=size.image.layers,
    text_layers=size.text.layers,
  )
  arrays = {}
  for name, tensor in give(names, leaves, patch=size.patch_size).items():
    heads = size.text.heads if '/txt/' in name else size.image.heads
    if re.search('(query|key|value)/kernel', name):
      tensor = tensor.reshape(len(tensor), heads, -1)
    elif re.search('(query|key|value)/bias', name):
      tensor = tensor.reshape(heads, -1)
    elif name.endswith('out/kernel'):
      tensor = tensor.reshape(heads, -1, tensor.shape[-1])
    arrays[name] = np.asarray(tensor)
  if not scanned:
    return arrays
  stacks = {}
  for name in sorted(arrays):
    stacks.setdefault(re.sub(r'encoderblock_\d+', 'encoderblock', name), []).append(
      name
    )
  return {
    name: np.stack([arrays[each] for each in parts])
    if '/encoderblock/' in name
    else arrays[parts[0]]
    for name, parts in stacks.items()
  }


@pytest.mark.parametrize('scanned', [False, True])
@pytest.mark.parametrize('prefix', ['params/', ''])
def test_a_file_of_big_vision_gives_every_parameter(
  tmp_path, golden_dir, toy, scanned, prefix
):
  size = toy(activation='gelu_tanh')
  _, model, params = model_of(golden_dir / 'siglip/huggingface', size=size)
  arrays = big_vision_of(model, params, scanned=scanned)
  probe = arrays['params/img/MAPHead_0/MultiHeadDotProductAttention_0/out/kernel']
  assert probe.shape == (3, 4, 12)
  arrays = {prefix + name.removeprefix('params/'): a for name, a in arrays.items()}
  if prefix:
    arrays['opt/0/count'] = np.zeros(())
  np.savez(tmp_path / 'siglip.npz', **arrays)
  source, _, loaded = model_of(tmp_path / 'siglip.npz', size=size)
  assert source.format == 'big_vision'
  jax.tree.map(np.testing.assert_array_equal, loaded, params)


def test_attention_pooling_is_what_it_says(golden_dir, toy):
  """In float64, one row and one head at a time."""
  size = toy(activation='gelu_tanh')
  _, _, params = model_of(golden_dir / 'siglip/huggingface', size=size)
  p = jax.tree.map(
    lambda leaf: np.asarray(leaf, np.float64), params['image']['pooling']
  )
  x = np.random.default_rng(0).normal(size=(2, 5, 12))
  pooling = AttentionPooling(
    size.image, activation='gelu_tanh', epsilon=1e-6, dtype=jnp.float32
  )
  found = pooling.apply({'params': params['image']['pooling']}, jnp.asarray(x, 'f4'))
  qkv, out = p['attention']['qkv'], p['attention']['out']
  for row, rows in zip(found, x, strict=True):
    query = (p['probe'] @ qkv['kernel'] + qkv['bias'])[:12]
    key, value = np.split((rows @ qkv['kernel'] + qkv['bias'])[:, 12:], 2, axis=-1)
    y = []
    for part in (slice(0, 4), slice(4, 8), slice(8, 12)):
      weights = np.exp(key[:, part] @ query[part] / 2)
      y.append(weights @ value[:, part] / weights.sum())
    y = np.concatenate(y) @ out['kernel'] + out['bias']
    z = (y - y.mean()) / np.sqrt(y.var() + 1e-6) * p['ln']['scale'] + p['ln']['bias']
    h = z @ p['mlp']['up']['kernel'] + p['mlp']['up']['bias']
    h = h / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (h + 0.044715 * h**3)))
    y = y + h @ p['mlp']['down']['kernel'] + p['mlp']['down']['bias']
    np.testing.assert_allclose(row, y, atol=2e-6)


def test_shards_with_an_index_are_one_file(tmp_path, golden_dir, toy):
  folder = golden_dir / 'siglip/huggingface'
  _, tensors = tensors_of_golden(golden_dir)
  names = sorted(tensors)
  parts = {
    'model-1-of-2.safetensors': names[::2],
    'model-2-of-2.safetensors': names[1::2],
  }
  for file, own in parts.items():
    safetensors.numpy.save_file({name: tensors[name] for name in own}, tmp_path / file)
  places = {name: file for file, own in parts.items() for name in own}
  index = tmp_path / 'model.safetensors.index.json'
  index.write_text(json.dumps({'weight_map': places}))
  (tmp_path / 'config.json').write_text((folder / 'config.json').read_text())
  size = toy(activation='gelu_tanh')
  source, _, loaded = model_of(tmp_path, size=size)
  jax.tree.map(np.testing.assert_array_equal, loaded, model_of(folder, size=size)[2])
  before = sha256(source.path)
  moved = {name: tensors[name] + 1 for name in names[1::2]}
  safetensors.numpy.save_file(moved, tmp_path / 'model-2-of-2.safetensors')
  assert sha256(source.path) != before
  (tmp_path / 'model-2-of-2.safetensors').unlink()
  with pytest.raises(
    UserError, match=r'all shards of .*model-2-of-2.safetensors are n'
  ):
    open_source(str(tmp_path))
  index.write_text(json.dumps({'weight_map': {names[0]: '../model.safetensors'}}))
  with pytest.raises(UserError, match='an index of shards, with file names'):
    open_source(str(tmp_path))


def test_each_missing_or_unexpected_tensor_is_refused(golden_dir, toy):
  source, tensors = tensors_of_golden(golden_dir)
  model = Clip(size=toy(activation='gelu_tanh'))
  fresh = build_fresh(model, jax.random.key(0))
  for name in ('vision_model.head.probe', 'text_model.head.bias', 'logit_bias'):
    fewer = {other: tensor for other, tensor in tensors.items() if other != name}
    with pytest.raises(UserError, match=f'1 are missing: {name}; 0 are unexpected'):
      load_weights(dataclasses.replace(source, tensors=fewer), fresh, model=model)
  more = tensors | {'visual_projection.weight': np.zeros((2, 2))}
  with pytest.raises(UserError, match=r'1 are unexpected: visual_projection\.weight'):
    load_weights(dataclasses.replace(source, tensors=more), fresh, model=model)


@pytest.mark.parametrize(
  ('size', 'folder', 'message'),
  [
    ('tiny', 'siglip/huggingface', 'weights of a CLIP, as the size is; found a SigLIP'),
    ('tiny-siglip', 'open_clip', 'weights of a SigLIP, as the size is; found a CLIP'),
  ],
)
def test_a_file_of_the_other_family_is_refused(golden_dir, size, folder, message):
  source = open_source(str(golden_dir / folder))
  with pytest.raises(UserError, match=message):
    check_settings(source, named_size(size))


def test_naflex_is_another_family(tmp_path, golden_dir):
  _, tensors = tensors_of_golden(golden_dir)
  name = 'vision_model.embeddings.patch_embedding.weight'
  tensors[name] = tensors[name].reshape(len(tensors[name]), -1)
  safetensors.numpy.save_file(tensors, tmp_path / 'model.safetensors')
  with pytest.raises(UserError, match=r'fixed resolution; .* SigLIP 2 NaFlex'):
    open_source(str(tmp_path))


def test_the_temperature_comes_with_the_bias(golden_dir, toy):
  """Random content has a logit scale of 3.5."""
  size = toy(activation='gelu_tanh')
  _, _, params = model_of(golden_dir / 'siglip/huggingface', size=size)
  np.testing.assert_allclose(params['temperature'], np.exp(-params['logit_scale']))
  assert params['logit_bias'].shape == ()
  assert params['logit_bias'] != -10


PROCESSOR = {'image_mean': [0.5] * 3, 'image_std': [0.5] * 3, 'resample': 2}


@pytest.mark.parametrize(
  ('file', 'content', 'expected'),
  [
    ('preprocessor_config.json', PROCESSOR, 'bilinear'),
    ('processor_config.json', {'image_processor': PROCESSOR}, 'bilinear'),
    ('preprocessor_config.json', PROCESSOR | {'resample': 3}, 'bicubic'),
  ],
)
def test_what_images_undergo_stands_beside_the_weights(
  tmp_path, golden_dir, file, content, expected
):
  shutil.copytree(golden_dir / 'siglip/huggingface', tmp_path / 'copy')
  assert open_source(str(tmp_path / 'copy')).preprocessing is None
  (tmp_path / 'copy' / file).write_text(json.dumps(content))
  found = open_source(str(tmp_path / 'copy')).preprocessing
  assert found == dataclasses.replace(HALVES, interpolation=expected)


@pytest.mark.parametrize(
  'changed', [{'resample': 0}, {'image_std': [0, 1, 1]}, {'image_mean': 0.5}]
)
def test_another_resize_or_constant_is_refused(tmp_path, golden_dir, changed):
  shutil.copytree(golden_dir / 'siglip/huggingface', tmp_path / 'copy')
  path = tmp_path / 'copy/preprocessor_config.json'
  path.write_text(json.dumps(PROCESSOR | changed))
  with pytest.raises(
    UserError, match=r'expected images with a mean .*preprocessor_conf'
  ):
    open_source(str(tmp_path / 'copy'))


def test_openclip_tells_what_images_undergo(tmp_path, golden_dir, toy, caplog):
  shutil.copytree(golden_dir / 'siglip/open_clip', tmp_path / 'copy')
  path = tmp_path / 'copy/open_clip_config.json'
  told = {'mean': [0.4, 0.5, 0.6], 'std': [0.5] * 3, 'interpolation': 'bicubic'}
  path.write_text(json.dumps(json.loads(path.read_text()) | {'preprocess_cfg': told}))
  source = open_source(str(tmp_path / 'copy'))
  expected = Preprocessing(mean=(0.4, 0.5, 0.6), std=(0.5,) * 3)
  assert source.preprocessing == expected
  size = toy(activation='gelu')
  warn_of_preprocessing(source, dataclasses.replace(size, preprocessing=expected))
  assert not caplog.records
  warn_of_preprocessing(source, dataclasses.replace(size, preprocessing=HALVES))
  assert '--config.model.mean="(0.4, 0.5, 0.6)"' in caplog.text
  assert 'std' not in caplog.text


def test_a_loaded_model_sees_images_as_its_config_says(tmp_path, golden_dir):
  shutil.copytree(golden_dir / 'siglip/huggingface', tmp_path / 'copy')
  path = tmp_path / 'copy/preprocessor_config.json'
  path.write_text(json.dumps(PROCESSOR))
  loaded = harma_jax.load(tmp_path / 'copy')
  pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
  image = Image.fromarray(pixels)
  small = np.asarray(image.resize((19, 19), Image.Resampling.BILINEAR))
  seen = jnp.asarray(small / 127.5 - 1, jnp.float32)[None]
  expected = loaded.clip.encode_image(loaded.params, seen)
  np.testing.assert_allclose(loaded.encode_images([image]), expected, atol=TOLERANCE)
  assert loaded.preprocessing == {
    'side': 19,
    'resize': 'whole image or tile, bilinear (Pillow)',
    'mean': [0.5] * 3,
    'std': [0.5] * 3,
    'interpolation': 'bilinear',
  }
  with pytest.raises(UserError, match=r'expected the tokenizer of a SigLIP of 40 '):
    loaded.encode_texts(['a field'])
