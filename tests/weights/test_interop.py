"""Features of weights that OpenCLIP and transformers made, by them and by us."""

import dataclasses
import functools
import json
import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from harma_jax.building.params import build_fresh
from harma_jax.model.adapter import AdapterSettings
from harma_jax.model.clip import Clip
from harma_jax.model.sizes import SIZES
from harma_jax.reference.model import model_of
from harma_jax.weights.load import interpolate_positions, load_weights
from harma_jax.weights.recognise import check_settings
from harma_jax.weights.sources import open_source

TOLERANCE = 1e-5
# Fresh ones, which must not change the features.
ADAPTER = AdapterSettings(bottleneck=8, shared_bottleneck=4, heads=2)

GOLDEN = {
  'open_clip': ('open_clip', 'gelu'),
  'huggingface': ('huggingface', 'quick_gelu'),
  'openai': ('openai.pt', 'quick_gelu'),
}


def ours(source, model):
  """The parameters of a source."""
  source = open_source(str(source))
  check_settings(source, model.size)
  return load_weights(source, fresh_of(model), model=model)


# Compiled once for each model.
@functools.cache
def fresh_of(model):
  return build_fresh(model, jax.random.key(0))


@functools.partial(jax.jit, static_argnums=0)
def encode(model, params, images, tokens):
  return model.encode_image(params, images), model.encode_text(params, tokens)


def assert_features(model, params, inputs, expected):
  """That features of images [B, 3, H, W] and tokens [B, L] are those expected."""
  images, tokens = jnp.asarray(inputs[0]), jnp.asarray(inputs[1], jnp.int32)
  found = encode(model, params, images.transpose(0, 2, 3, 1), tokens)
  for one, other in zip(found, expected, strict=True):
    np.testing.assert_allclose(one, other, atol=TOLERANCE, rtol=0)
    assert np.std(other, axis=0).max() > 1e-3  # not one and the same for all


@pytest.mark.parametrize('kind', GOLDEN)
def test_golden_features_without_torch(golden_dir, golden, golden_size, kind):
  file, activation = GOLDEN[kind]
  assert open_source(str(golden_dir / file)).format == kind
  model = Clip(size=golden_size(activation), adapter=ADAPTER)
  expected = golden[f'{kind}/image'], golden[f'{kind}/text']
  inputs = golden['images'], golden['tokens']
  assert_features(model, ours(golden_dir / file, model), inputs, expected)


@pytest.mark.parametrize('kind', GOLDEN)
def test_golden_features_depend_on_the_activation(
  golden_dir, golden, golden_size, kind
):
  file, activation = GOLDEN[kind]
  other = {'gelu': 'quick_gelu', 'quick_gelu': 'gelu'}[activation]
  model = Clip(size=golden_size(activation), adapter=ADAPTER)
  params = ours(golden_dir / file, model)
  wrong = dataclasses.replace(model, size=golden_size(other))
  with pytest.raises(AssertionError, match='Not equal to tolerance'):
    assert_features(
      wrong,
      params,
      (golden['images'], golden['tokens']),
      (golden[f'{kind}/image'], golden[f'{kind}/text']),
    )


def words_of(size):
  """A `Size` in the words of make_golden."""
  words = dataclasses.asdict(size)
  del words['activation']
  return words | {
    tower: tuple(words[tower][field] for field in ('width', 'layers', 'heads'))
    for tower in ('image', 'text')
  }


CASES = [
  pytest.param(size, activation, marks=marks)
  for size, marks in (('tiny', ()), ('ViT-B-32', pytest.mark.slow))
  for activation in ('gelu', 'quick_gelu')
]


def sized_model(name, activation):
  size = SIZES[name if activation == 'gelu' else f'{name}-quickgelu']
  return Clip(size=size, adapter=ADAPTER)


@pytest.mark.parametrize(('size', 'activation'), CASES)
def test_features_are_those_of_transformers(tmp_path, libraries, size, activation):
  model = sized_model(size, activation)
  words = words_of(model.size)
  theirs = libraries.huggingface_model(words, activation=activation)
  theirs.save_pretrained(tmp_path)
  inputs = libraries.inputs_of(words)
  expected = libraries.features_of(theirs, *inputs)
  assert_features(model, ours(tmp_path, model), inputs, expected)


@pytest.mark.parametrize(('size', 'activation'), CASES)
@pytest.mark.parametrize('custom_text', [False, True])
def test_features_are_those_of_openclip(
  tmp_path, torch, libraries, open_clip, size, activation, custom_text
):
  model = sized_model(size, activation)
  words = words_of(model.size)
  quick_gelu = activation == 'quick_gelu'
  theirs = libraries.open_clip_model(
    words, quick_gelu=quick_gelu, custom_text=custom_text
  )
  assert ('text.positional_embedding' in theirs.state_dict()) == custom_text
  torch.save(theirs.state_dict(), tmp_path / 'open_clip_pytorch_model.bin')
  config = {'model_cfg': libraries.open_clip_config(words, quick_gelu=quick_gelu)}
  (tmp_path / 'open_clip_config.json').write_text(json.dumps(config))
  inputs = libraries.inputs_of(words)
  expected = libraries.features_of(theirs, *inputs)
  assert_features(model, ours(tmp_path, model), inputs, expected)


@pytest.mark.parametrize('is_traced', [False, True])
def test_features_are_those_of_an_archive_of_halves(
  tmp_path, torch, libraries, open_clip, is_traced
):
  model = sized_model('tiny', 'quick_gelu')
  words = words_of(model.size)
  inputs = libraries.inputs_of(words)
  theirs = libraries.open_clip_model(words, quick_gelu=True)
  example = tuple(map(torch.from_numpy, inputs)) if is_traced else None
  theirs = libraries.archive(theirs, tmp_path / 'ViT-B-32.pt', example=example)
  assert open_source(str(tmp_path / 'ViT-B-32.pt')).format == 'openai'
  expected = libraries.features_of(theirs, *inputs)
  assert_features(model, ours(tmp_path / 'ViT-B-32.pt', model), inputs, expected)


WRAPPERS = {
  'state dict (GeoRSCLIP, RemoteCLIP)': lambda state: state,
  'training of OpenCLIP': lambda state: {
    'epoch': 5,
    'name': 'run',
    'state_dict': {f'module.{name}': tensor for name, tensor in state.items()},
    'optimizer': {'state': {}, 'param_groups': [{'lr': 5e-4, 'params': [0, 1]}]},
  },
}


@pytest.mark.parametrize('wrapper', WRAPPERS)
@pytest.mark.parametrize('is_zip', [True, False])
@pytest.mark.parametrize('dtype', ['float32', 'float16', 'bfloat16'])
def test_files_of_torch_hold_what_safetensors_do(
  tmp_path, torch, golden_dir, golden_size, wrapper, is_zip, dtype
):
  from safetensors.torch import load_file, save_file

  dtype = getattr(torch, dtype)
  state = load_file(golden_dir / 'open_clip/open_clip_model.safetensors')
  state = {name: tensor.to(dtype) for name, tensor in state.items()}
  path = tmp_path / 'RemoteCLIP-ViT-B-32.pt'
  torch.save(WRAPPERS[wrapper](state), path, _use_new_zipfile_serialization=is_zip)
  save_file(state, tmp_path / 'plain.safetensors')
  model = Clip(size=golden_size('gelu'))
  assert open_source(str(path)).activation is None
  one, other = ours(path, model), ours(tmp_path / 'plain.safetensors', model)
  assert {leaf.dtype for leaf in jax.tree.leaves(one)} == {np.dtype(np.float32)}
  jax.tree.map(np.testing.assert_array_equal, one, other)


@pytest.mark.parametrize(
  ('name', 'prefix'), [('harma_released', ''), ('harma_shared_quickgelu', 'module.')]
)
def test_a_checkpoint_of_the_original_harma(
  tmp_path, torch, reference_dir, name, prefix
):
  reference = dict(np.load(reference_dir / f'{name}.npz'))
  state = {
    prefix + key.removeprefix('weights/'): torch.tensor(array)
    for key, array in reference.items()
    if key.startswith('weights/')
  }
  config = {'batch_size_train': 428, 'optimizer': {'opt': 'adamW', 'lr': 4e-4}}
  path = tmp_path / 'checkpoint_best.pth'
  torch.save({'model': state, 'config': config}, path)
  model = model_of(json.loads(str(reference['meta'])))
  inputs = reference['inputs/images_nchw'], reference['inputs/tokens']
  expected = reference['outputs/image_features'], reference['outputs/text_features']
  assert_features(model, ours(path, model), inputs, expected)


@pytest.mark.parametrize(('old', 'new'), [(7, 9), (7, 12), (16, 24), (24, 16), (9, 4)])
def test_positions_are_interpolated_as_by_torch(torch, old, new):
  rng = np.random.default_rng(0)
  table = rng.normal(0, 1, (1 + old * old, 12)).astype(np.float32)
  grid = torch.tensor(table[1:]).reshape(1, old, old, 12).permute(0, 3, 1, 2)
  expected = torch.nn.functional.interpolate(
    grid, size=(new, new), mode='bicubic', antialias=True, align_corners=False
  )
  expected = expected.permute(0, 2, 3, 1).reshape(-1, 12)
  found = interpolate_positions(table, positions=1 + new * new)
  np.testing.assert_array_equal(found[0], table[0])
  np.testing.assert_allclose(found[1:], expected, atol=TOLERANCE)


def test_features_at_another_side_are_those_of_openclip(
  tmp_path, torch, libraries, open_clip, caplog
):
  words = words_of(SIZES['tiny'])
  theirs = libraries.open_clip_model(words)
  torch.save(theirs.state_dict(), tmp_path / 'weights.pt')
  larger = libraries.open_clip_model(words | {'image_size': 96})
  open_clip.load_checkpoint(larger, str(tmp_path / 'weights.pt'))
  size = dataclasses.replace(SIZES['tiny'], image_size=96)
  model = Clip(size=size, adapter=ADAPTER)
  inputs = libraries.inputs_of(words | {'image_size': 96})
  expected = libraries.features_of(larger, *inputs)
  with caplog.at_level(logging.INFO):
    params = ours(tmp_path / 'weights.pt', model)
  assert 'interpolating the positions of 64 patches to 144' in caplog.text
  assert_features(model, params, inputs, expected)
