"""Weights out: the same weights come back in, and other libraries compute the same."""

import dataclasses
import functools
import gzip
import importlib
import importlib.util
import json
import logging
import shutil
import sys

import huggingface_hub
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from huggingface_hub.errors import LocalEntryNotFoundError
from PIL import Image

from harma_jax.data.cleaning import CLEANINGS
from harma_jax.data.images import CLIP_STD, normalize, resize_for_evaluation
from harma_jax.data.tokenizer import tokenize
from harma_jax.errors import UserError
from harma_jax.model.clip import Clip
from harma_jax.model.lora import LoraSettings, merge_lora
from harma_jax.model.sizes import SIZES
from harma_jax.reference.model import model_of
from harma_jax.weights import tokenizer_files
from harma_jax.weights.export import (
  departures,
  replacing,
  tensors_of,
  write_harma,
  write_huggingface,
  write_open_clip,
  write_remote,
)
from harma_jax.weights.load import load_weights
from harma_jax.weights.names import names_of, paths_of, take, tree_of
from harma_jax.weights.processor import write_processor
from harma_jax.weights.sources import open_source
from harma_jax.weights.tokenizer_files import write_tokenizer

TOLERANCE = 1e-5
GREY_LEVEL = 1.01 / 255 / min(CLIP_STD)
WITH_ADAPTERS = {
  'text': {'shared_adapter': 'text', 'adapter_padding': 'padding'},
  'both, deeper image': {'shared_adapter': 'both', 'image_layers': 3},
  'none, quick': {'shared_adapter': 'none', 'activation': 'quick_gelu'},
}
FOLDERS = {'open_clip': write_open_clip, 'huggingface': write_huggingface}
CONFIGS = ('config.json', 'open_clip_config.json')
SLOW = pytest.param('ViT-B-32-quickgelu', marks=pytest.mark.slow)


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
  def absent(*_, **__):
    raise LocalEntryNotFoundError('nothing here')

  monkeypatch.setattr(huggingface_hub, 'hf_hub_download', absent)


@pytest.fixture
def plain(make_clip, toy_batch):
  """`plain(name)`: a model without adapters, and what to feed it."""

  def make(name):
    if name.startswith('toy'):
      clip = make_clip(adapter=None, activation=name.removeprefix('toy, '))
      return clip, toy_batch['images'], toy_batch['tokens']
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2, 224, 224, 3)).astype(np.uint8)
    tokens = np.zeros((2, 77), np.int32)
    tokens[:, :5] = rng.integers(1, 49000, (2, 5))
    tokens[:, 5] = 49407
    return Clip(size=SIZES[name]), images, tokens

  return make


def features(clip, params, images, tokens):
  return features_of_all(clip, [params], images, tokens)[0]


def features_of_all(clip, trees, images, tokens):
  """Features of images and captions by each of the parameters, compiled once."""
  images, tokens = normalize(jnp.asarray(images)), jnp.asarray(tokens)
  both = jax.jit(
    lambda params: (clip.encode_image(params, images), clip.encode_text(params, tokens))
  )
  return [
    tuple(map(np.asarray, both(jax.tree.map(jnp.asarray, tree)))) for tree in trees
  ]


def channels_first(images):
  return np.array(normalize(jnp.asarray(images)).transpose(0, 3, 1, 2))


def assert_equal_features(clip, one, other, images, tokens):
  one, other = features_of_all(clip, [one, other], images, tokens)
  for first, second in zip(one, other, strict=True):
    np.testing.assert_array_equal(first, second)


def unit(array):
  return array / np.linalg.norm(array, axis=-1, keepdims=True)


def read(path):
  return safetensors.numpy.load_file(path)


# The original HarMA's file.


@pytest.mark.parametrize('name', WITH_ADAPTERS)
def test_a_harma_file_comes_back_bit_for_bit(
  tmp_path, make_clip, random_params, toy_batch, name
):
  clip = make_clip(**WITH_ADAPTERS[name])
  params, fresh = random_params(clip, seed=1), random_params(clip, seed=2)
  path = tmp_path / 'weights.safetensors'
  write_harma(path, params, model=clip, cleaning='sound', config={})
  loaded = load_weights(open_source(str(path)), fresh, model=clip)
  jax.tree.map(np.testing.assert_array_equal, loaded, params)
  inputs = toy_batch['images'], toy_batch['tokens']
  assert_equal_features(clip, loaded, params, *inputs)


def test_shared_adapters_of_both_towers_go_by_both_names(make_clip, random_params):
  clip = make_clip(shared_adapter='both', image_layers=3)
  tensors = tensors_of(random_params(clip), model=clip, program='harma')
  ends = 'mmadapter.BiShareAdapterxx.l1.weight'
  image = [tensors[f'model.visual.transformer.resblocks.{i}.{ends}'] for i in range(3)]
  text = [tensors[f'model.transformer.resblocks.{i}.{ends}'] for i in range(2)]
  for layer, same in ((0, 0), (1, 0), (2, 1)):
    np.testing.assert_array_equal(image[layer], text[same])
  assert not np.array_equal(text[0], text[1])


@pytest.mark.parametrize('file', ['harma_released.npz', 'harma_shared_quickgelu.npz'])
def test_weights_of_the_original_go_in_and_come_out(tmp_path, reference_dir, file):
  with np.load(reference_dir / file) as arrays:
    meta = json.loads(str(arrays['meta']))
    given = {
      name.removeprefix('weights/'): arrays[name]
      for name in arrays
      if name.startswith('weights/')
    }
  clip = model_of(meta)
  shapes = paths_of(jax.eval_shape(clip.init, jax.random.key(0)))
  names = names_of(
    shapes,
    layout='harma',
    image_layers=clip.size.image.layers,
    text_layers=clip.size.text.layers,
    shared_adapter=clip.shared_adapter,
  )
  params = tree_of(dict(take(names, given)))
  path = tmp_path / 'weights.safetensors'
  write_harma(path, params, model=clip, cleaning='sound', config={})
  written = read(path)
  assert {name: array.shape for name, array in written.items()} == {
    name: array.shape for name, array in given.items()
  }
  for name, array in given.items():
    np.testing.assert_array_equal(written[name], array, err_msg=name)
    assert written[name].dtype == np.float32


def test_frozen_bf16_weights_are_written_as_f32(tmp_path, make_clip, random_params):
  clip = make_clip()
  params = random_params(clip)
  params['text']['projection'] = params['text']['projection'].astype(jnp.bfloat16)
  path = tmp_path / 'weights.safetensors'
  write_harma(path, params, model=clip, cleaning='sound', config={})
  written = read(path)['model.text_projection']
  assert written.dtype == np.float32
  np.testing.assert_array_equal(written, params['text']['projection'].astype('f4'))


def test_what_the_original_would_compute_otherwise_is_said(make_clip):
  assert departures(make_clip(shared_adapter='text', adapter_padding='none')) == []
  masked = departures(make_clip(adapter_padding='padding'))
  assert ['adapter_padding=padding' in sentence for sentence in masked] == [True]
  assert 'shared_adapter=none' in departures(make_clip(shared_adapter='none'))[0]


def test_a_pth_wants_torch(tmp_path, make_clip, random_params, monkeypatch):
  monkeypatch.setitem(sys.modules, 'torch', None)
  clip = make_clip()
  with pytest.raises(UserError, match=r'torch.*not installed.*\.safetensors'):
    write_harma(
      tmp_path / 'w.pth', random_params(clip), model=clip, cleaning='sound', config={}
    )


def test_a_pth_is_loaded_without_running_code(
  tmp_path, make_clip, random_params, torch
):
  clip = make_clip(shared_adapter='both')
  params = random_params(clip)
  path = tmp_path / 'checkpoint_best.pth'
  config = {'model': {'size': 'toy'}, 'crop': [0.5, 1.0]}
  write_harma(path, params, model=clip, cleaning='sound', config=config)
  checkpoint = torch.load(path, weights_only=True)
  assert checkpoint['config'] == config
  expected = tensors_of(params, model=clip, program='harma')
  assert set(checkpoint['model']) == set(expected)
  assert checkpoint['model']['temp'].shape == ()
  for name, tensor in checkpoint['model'].items():
    np.testing.assert_array_equal(tensor.numpy(), expected[name])
  loaded = load_weights(open_source(str(path)), random_params(clip, seed=2), model=clip)
  jax.tree.map(np.testing.assert_array_equal, loaded, params)


# OpenCLIP's and transformers' folders.


@pytest.mark.parametrize('activation', ['gelu', 'quick_gelu'])
@pytest.mark.parametrize('format', FOLDERS)
def test_a_folder_comes_back_bit_for_bit(
  tmp_path, plain, random_params, format, activation
):
  clip, images, tokens = plain(f'toy, {activation}')
  params, fresh = random_params(clip, seed=1), random_params(clip, seed=2)
  FOLDERS[format](tmp_path / 'out', params, model=clip, cleaning='sound')
  source = open_source(str(tmp_path / 'out'))
  assert (source.format, source.activation) == (format, activation)
  loaded = load_weights(source, fresh, model=clip)
  assert_equal_features(clip, loaded, params, images, tokens)
  scale = -np.log(np.float32(params['temperature']))
  assert loaded['logit_scale'] == scale == np.float32(2.6592600)


@pytest.mark.parametrize('name', ['toy, gelu', 'toy, quick_gelu', SLOW])
def test_transformers_reads_the_folder_and_computes_the_same(
  tmp_path, plain, random_params, torch, transformers, name
):
  clip, images, tokens = plain(name)
  params = random_params(clip)
  write_huggingface(tmp_path / 'out', params, model=clip, cleaning='sound')
  model, report = transformers.CLIPModel.from_pretrained(
    tmp_path / 'out', output_loading_info=True
  )
  assert not any(report.values()), report
  image, text = features(clip, params, images, tokens)
  with torch.no_grad():
    output = model(
      pixel_values=torch.from_numpy(channels_first(images)),
      input_ids=torch.from_numpy(tokens).long(),
    )
  np.testing.assert_allclose(output.image_embeds.numpy(), image, atol=TOLERANCE)
  np.testing.assert_allclose(output.text_embeds.numpy(), text, atol=TOLERANCE)
  logits = image @ text.T / 0.07
  np.testing.assert_allclose(output.logits_per_image.numpy(), logits, atol=1e-3)


@pytest.mark.parametrize('name', ['toy, gelu', 'toy, quick_gelu', SLOW])
def test_open_clip_reads_the_folder_and_computes_the_same(
  tmp_path, plain, random_params, torch, open_clip, name
):
  clip, images, tokens = plain(name)
  params = random_params(clip)
  write_open_clip(tmp_path / 'out', params, model=clip, cleaning='sound')
  model, _, preprocess = open_clip.create_model_and_transforms(
    f'local-dir:{tmp_path}/out'
  )
  model.eval()
  image, text = features(clip, params, images, tokens)
  with torch.no_grad():
    theirs = model.encode_image(torch.from_numpy(channels_first(images)))
    np.testing.assert_allclose(unit(theirs.numpy()), image, atol=TOLERANCE)
    theirs = model.encode_text(torch.from_numpy(tokens).long())
    np.testing.assert_allclose(unit(theirs.numpy()), text, atol=TOLERANCE)
  assert model.logit_scale.exp().item() == pytest.approx(1 / 0.07, rel=1e-5)
  picture = np.random.default_rng(0).integers(0, 256, (300, 400, 3)).astype(np.uint8)
  picture = Image.fromarray(picture)
  pixels = resize_for_evaluation(picture, side=clip.size.image_size)
  np.testing.assert_allclose(
    preprocess(picture)[None].numpy(), channels_first(pixels[None]), atol=1e-5
  )


@pytest.fixture
def merged(make_clip, random_params, toy_batch):
  """A plain model, its weights with LoRA merged, inputs, and the features unmerged."""
  clip = make_clip(adapter=LoraSettings(rank=2, mlp=True), activation='gelu')
  # Small beside the weights that they go onto.
  params = tree_of(
    {
      path: 0.3 * leaf if 'lora' in path else leaf
      for path, leaf in paths_of(random_params(clip)).items()
    }
  )
  inputs = toy_batch['images'], toy_batch['tokens']
  plain = dataclasses.replace(clip, adapter=None)
  weights = merge_lora(params, clip.adapter)
  expected = features(clip, params, *inputs)
  without = {
    path: leaf for path, leaf in paths_of(params).items() if 'lora' not in path
  }
  backbone = features(plain, tree_of(without), *inputs)
  for one, other in zip(backbone, expected, strict=True):
    assert np.abs(one - other).max() > 100 * TOLERANCE
  return plain, weights, inputs, expected


def test_transformers_computes_the_same_with_lora_merged(
  tmp_path, merged, torch, transformers
):
  model, params, (images, tokens), expected = merged
  write_huggingface(tmp_path / 'out', params, model=model, cleaning='sound')
  theirs = transformers.CLIPModel.from_pretrained(tmp_path / 'out')
  pixels, ids = torch.from_numpy(channels_first(images)), torch.from_numpy(tokens)
  with torch.no_grad():
    output = theirs(pixel_values=pixels, input_ids=ids.long())
  found = output.image_embeds.numpy(), output.text_embeds.numpy()
  for one, other in zip(found, expected, strict=True):
    np.testing.assert_allclose(one, other, atol=TOLERANCE)


def test_open_clip_computes_the_same_with_lora_merged(
  tmp_path, merged, torch, open_clip
):
  model, params, (images, tokens), expected = merged
  write_open_clip(tmp_path / 'out', params, model=model, cleaning='sound')
  theirs, *_ = open_clip.create_model_and_transforms(f'local-dir:{tmp_path}/out')
  theirs.eval()
  with torch.no_grad():
    image = theirs.encode_image(torch.from_numpy(channels_first(images)))
    text = theirs.encode_text(torch.from_numpy(tokens).long())
  for one, other in zip((image, text), expected, strict=True):
    np.testing.assert_allclose(unit(one.numpy()), other, atol=TOLERANCE)


def test_open_clip_takes_the_file_for_a_model_of_its_own(
  tmp_path, plain, random_params, torch, open_clip
):
  clip, _, _ = plain('toy, gelu')
  write_open_clip(tmp_path / 'out', random_params(clip), model=clip, cleaning='sound')
  config = json.loads((tmp_path / 'out/open_clip_config.json').read_text())
  (tmp_path / 'toy-of-tests.json').write_text(json.dumps(config['model_cfg']))
  open_clip.add_model_config(tmp_path / 'toy-of-tests.json')
  file = tmp_path / 'out/open_clip_model.safetensors'
  model, _, _ = open_clip.create_model_and_transforms(
    'toy-of-tests', pretrained=str(file)
  )
  state = model.state_dict()
  written = read(file)
  assert set(state) - {'attn_mask'} == set(written)
  for name, array in written.items():
    np.testing.assert_array_equal(state[name].numpy(), array)


# transformers' folder with code.


def test_a_remote_folder_comes_back_bit_for_bit(
  tmp_path, make_clip, random_params, toy_batch
):
  clip = make_clip(shared_adapter='both', adapter_padding='padding')
  params, fresh = random_params(clip, seed=1), random_params(clip, seed=2)
  write_remote(tmp_path / 'out', params, model=clip, cleaning='sound')
  loaded = load_weights(open_source(str(tmp_path / 'out')), fresh, model=clip)
  jax.tree.map(np.testing.assert_array_equal, loaded, params)
  inputs = toy_batch['images'], toy_batch['tokens']
  assert_equal_features(clip, loaded, params, *inputs)


@pytest.mark.parametrize(('given', 'length'), [(0, 7), (5, 5)])
def test_captions_are_as_long_as_in_training(
  tmp_path, make_clip, random_params, vocabulary, given, length
):
  clip = make_clip(adapter_padding='none')
  params = random_params(clip)
  write_remote(
    tmp_path / 'out', params, model=clip, cleaning='sound', context_length=given
  )
  config = json.loads((tmp_path / 'out/tokenizer_config.json').read_text())
  assert (config['model_max_length'], config['pad_token']) == (length, '!')
  config = json.loads((tmp_path / 'out/config.json').read_text())
  assert config['context_length'] == 7


def test_a_remote_folder_describes_its_model(tmp_path, make_clip, random_params):
  clip = make_clip(shared_adapter='both', adapter_padding='padding')
  write_remote(tmp_path / 'out', random_params(clip), model=clip, cleaning='sound')
  config = json.loads((tmp_path / 'out/config.json').read_text())
  assert config['model_type'] == 'harma'
  assert (config['shared_adapter'], config['adapter_padding']) == ('both', 'padding')
  assert (config['image_size'], config['adapter_heads']) == (16, 2)
  assert 'class HarmaModel' in (tmp_path / 'out/modeling_harma.py').read_text()
  names = set(read(tmp_path / 'out/model.safetensors'))
  assert {'temp', 'clip.logit_scale', 'clip.visual.class_embedding'} <= names


@pytest.mark.parametrize('name', WITH_ADAPTERS)
def test_a_remote_folder_computes_the_same(
  tmp_path, make_clip, random_params, toy_batch, torch, transformers, name
):
  clip = make_clip(**WITH_ADAPTERS[name])
  params = random_params(clip)
  write_remote(tmp_path / 'out', params, model=clip, cleaning='sound')
  model, report = transformers.AutoModel.from_pretrained(
    tmp_path / 'out', trust_remote_code=True, output_loading_info=True
  )
  assert not any(report.values()), report
  image, text = features(clip, params, toy_batch['images'], toy_batch['tokens'])
  with torch.no_grad():
    theirs = model.get_image_features(
      torch.from_numpy(channels_first(toy_batch['images']))
    )
    np.testing.assert_allclose(theirs.numpy(), image, atol=TOLERANCE)
    theirs = model.get_text_features(torch.from_numpy(toy_batch['tokens']).long())
    np.testing.assert_allclose(theirs.numpy(), text, atol=TOLERANCE)


# Images and captions for transformers.

MERGES = ['c a', 'ca t</w>', 'd o', 'do g</w>']


@pytest.fixture
def vocabulary(tmp_path, monkeypatch):
  """A few words where the package open_clip keeps CLIP's."""
  folder = tmp_path / 'open_clip'
  folder.mkdir()
  with gzip.open(folder / 'bpe_simple_vocab_16e6.txt.gz', 'wt') as file:
    file.write('\n'.join(['"#version: 0.2', *MERGES]))
  (folder / '__init__.py').write_text('')
  monkeypatch.delitem(sys.modules, 'open_clip', raising=False)
  monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.parametrize(('pad_zero', 'padding'), [(True, 0), (False, 517)])
def test_the_processor_prepares_as_the_evaluation_does(
  tmp_path, vocabulary, processors, pad_zero, padding
):
  out = tmp_path / 'out'
  out.mkdir()
  size = dataclasses.replace(SIZES['tiny'], image_size=16)
  write_processor(out, size=size)
  assert write_tokenizer(out, size=size, context_length=7, pad_zero=pad_zero)
  prepare = processors.CLIPProcessor.from_pretrained(out)
  picture = np.random.default_rng(0).integers(0, 256, (30, 40, 3)).astype(np.uint8)
  picture = Image.fromarray(picture)
  inputs = prepare(
    text=['Cat dog', 'a'], images=picture, padding='max_length', return_tensors='np'
  )
  expected = channels_first(resize_for_evaluation(picture, side=16)[None])
  # Pillow's backend of the library is exact; torchvision's rounds a few pixels apart.
  np.testing.assert_allclose(inputs['pixel_values'], expected, atol=GREY_LEVEL)
  assert np.abs(inputs['pixel_values'] - expected).mean() < GREY_LEVEL / 50
  # 2 * 256 single characters, the four merges, start, end.
  a = sorted(tokenizer_files.pre_tokenizers.ByteLevel.alphabet()).index('a')
  rows = [[516, 513, 515, 517, *[padding] * 3], [516, 256 + a, 517, *[padding] * 4]]
  np.testing.assert_array_equal(inputs['input_ids'], rows)


def test_the_vocabulary_may_come_from_the_hub(tmp_path, vocabulary, monkeypatch):
  settings = {'size': SIZES['tiny'], 'context_length': 7, 'pad_zero': True}
  for name in ('package', 'hub'):
    (tmp_path / name).mkdir()
  assert write_tokenizer(tmp_path / 'package', **settings)
  words = json.loads((tmp_path / 'package/vocab.json').read_text())
  merges = [merge.split(' ') for merge in MERGES]
  file = tmp_path / 'tokenizer.json'
  file.write_text(json.dumps({'model': {'vocab': words, 'merges': merges}}))
  monkeypatch.setitem(sys.modules, 'open_clip', None)
  monkeypatch.setattr(huggingface_hub, 'hf_hub_download', lambda *_, **__: str(file))
  assert write_tokenizer(tmp_path / 'hub', **settings)
  monkeypatch.setattr(huggingface_hub, 'hf_hub_download', None)
  beside = [tmp_path / 'none', tmp_path]  # the second has the hub's file
  for name, folders in {'whole': beside, 'parts': [tmp_path / 'hub']}.items():
    (tmp_path / name).mkdir()
    assert write_tokenizer(tmp_path / name, **settings, beside=folders)
  for name in ('vocab.json', 'merges.txt', 'tokenizer_config.json'):
    sources = ('package', 'hub', 'whole', 'parts')
    assert len({(tmp_path / source / name).read_text() for source in sources}) == 1


def test_without_a_vocabulary_all_else_is_written(
  tmp_path, plain, random_params, monkeypatch, caplog
):
  monkeypatch.setitem(sys.modules, 'open_clip', None)
  clip, _, _ = plain('toy, gelu')
  with caplog.at_level(logging.WARNING):
    write_huggingface(
      tmp_path / 'out', random_params(clip), model=clip, cleaning='sound'
    )
  assert 'hf download openai/clip-vit-base-patch32 tokenizer.json' in caplog.text
  names = {path.name for path in (tmp_path / 'out').iterdir()}
  assert names == {'config.json', 'model.safetensors', 'preprocessor_config.json'}


def test_the_real_vocabulary_gives_the_tokens_of_training(tmp_path, processors):
  if importlib.util.find_spec('open_clip') is None:
    pytest.skip('the package open_clip, whose vocabulary is wanted, is not installed')
  assert write_tokenizer(tmp_path, size=SIZES['ViT-B-32'], pad_zero=True)
  captions = [
    *('a big runway with 3 planes', 'déjà vu   near the river', "it's green"),
    # What spells a special token is text, and so is the sign of the padding.
    *('a <|endoftext|> boat', '<|startoftext|>', '<end_of_text>', 'a boat! ! no'),
  ]
  theirs = processors.CLIPTokenizer.from_pretrained(tmp_path)(
    captions, padding='max_length', return_tensors='np'
  )
  np.testing.assert_array_equal(theirs['input_ids'], tokenize(captions))


# Where it is written.


def test_who_stops_in_the_middle_leaves_nothing(tmp_path):
  with pytest.raises(KeyboardInterrupt), replacing(tmp_path / 'out', overwrite=False):
    raise KeyboardInterrupt
  assert not list(tmp_path.iterdir())
  written(tmp_path / 'out', 'first')
  with pytest.raises(KeyboardInterrupt), replacing(tmp_path / 'out', overwrite=True):
    raise KeyboardInterrupt
  assert (tmp_path / 'out/README.md').read_text() == 'first, by harma_jax'
  assert [path.name for path in tmp_path.iterdir()] == ['out']


def written(out, text, *, overwrite=False):
  with replacing(out, overwrite=overwrite) as new:
    new.mkdir()
    (new / 'README.md').write_text(f'{text}, by harma_jax')


def test_only_an_earlier_export_is_overwritten(tmp_path):
  out = tmp_path / 'deep/out'
  written(out, 'first')
  with pytest.raises(UserError, match=r'is there already.*--overwrite'):
    written(out, 'second')
  written(out, 'second', overwrite=True)
  assert (out / 'README.md').read_text() == 'second, by harma_jax'
  (out / 'photos').mkdir()
  with pytest.raises(UserError, match='another folder and would be lost'):
    written(out, 'third', overwrite=True)
  shutil.rmtree(out)
  out.mkdir()
  written(out, 'into an empty folder')
  assert [path.name for path in out.parent.iterdir()] == ['out']


def test_a_place_that_cannot_be_written_is_named(tmp_path):
  (tmp_path / 'file').write_text('')
  with pytest.raises(UserError, match=r'place that can be written.*another --out'):
    written(tmp_path / 'file/out', 'nothing')


# How captions were cleaned.

WRITERS = {
  'harma.safetensors': functools.partial(write_harma, config={}),
  'harma.pth': lambda path, params, *, cleaning, **more: write_harma(
    path, params, cleaning='', config={'data': {'cleaning': cleaning}}, **more
  ),
  'remote': write_remote,
  **FOLDERS,
}


@pytest.mark.parametrize('cleaning', CLEANINGS)
@pytest.mark.parametrize('name', WRITERS)
def test_cleaning_comes_back_from_every_format(
  tmp_path, plain, make_clip, random_params, name, cleaning
):
  if name.endswith('.pth'):
    pytest.importorskip('torch')
  clip = plain('toy, gelu')[0] if name in FOLDERS else make_clip()
  path = tmp_path / name
  WRITERS[name](path, random_params(clip), model=clip, cleaning=cleaning)
  assert open_source(str(path)).cleaning == cleaning


@pytest.mark.parametrize('name', ['remote', *FOLDERS])
def test_folders_from_before_say_nothing_of_cleaning(
  tmp_path, plain, make_clip, random_params, name
):
  clip = plain('toy, gelu')[0] if name in FOLDERS else make_clip()
  path = tmp_path / name
  WRITERS[name](path, random_params(clip), model=clip, cleaning='sound')
  [config] = [path / file for file in CONFIGS if (path / file).is_file()]
  content = json.loads(config.read_text())
  del content['harma_jax']
  config.write_text(json.dumps(content))
  assert open_source(str(path)).cleaning == ''


def test_an_unknown_cleaning_is_refused(tmp_path, make_clip, random_params):
  clip = make_clip()
  path = tmp_path / 'harma.safetensors'
  write_harma(path, random_params(clip), model=clip, cleaning='newer', config={})
  with pytest.raises(
    UserError, match=r"ways released, sound; found 'newer' in .*harma"
  ):
    open_source(str(path))
