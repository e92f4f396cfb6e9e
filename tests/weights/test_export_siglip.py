"""SigLIP in the files of other programs: they compute the same, and it comes back."""

import functools
import json
import unittest.mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from harma_jax.data.images import normalize
from harma_jax.errors import UserError
from harma_jax.model.families import SIGLIP
from harma_jax.model.sizes import SIZES, named_size
from harma_jax.weights import config_files
from harma_jax.weights.config_files import open_clip_config, other_gelu, timm_tower
from harma_jax.weights.export import write_huggingface, write_open_clip, write_remote
from harma_jax.weights.load import load_weights
from harma_jax.weights.recognise import check_settings, recognise
from harma_jax.weights.settings import TIMM_TANH
from harma_jax.weights.sources import open_source

TOLERANCE = 1e-5
TIMM_NAME = 'vit_base_patch16_siglip_224'
WORDS = {
  'tokenizer.json': '{}',
  'spiece.model': 'pieces',
  'tokenizer_config.json': '{}',
}


@pytest.fixture
def toy(make_clip, random_params):
  """A SigLIP without adapters; OpenCLIP's texts with tanh, its images without."""

  def make(*, activation='gelu_tanh', **settings):
    clip = make_clip(family=SIGLIP, activation=activation, **settings)
    return clip, random_params(clip)

  return make


@functools.partial(jax.jit, static_argnums=0)
def encode(clip, params, images, tokens):
  return clip.encode_image(params, images), clip.encode_text(params, tokens)


def assert_features(clip, params, batch, theirs, torch):
  """`theirs(pixels, tokens)`: features of both, which are ours when of length 1."""
  images = np.asarray(normalize(batch['images']))
  expected = encode(clip, params, jnp.asarray(images), batch['tokens'])
  pixels = torch.tensor(images.transpose(0, 3, 1, 2))
  with torch.no_grad():
    found = theirs(pixels, torch.from_numpy(batch['tokens']).long())
  for one, other in zip(found, expected, strict=True):
    one = one.numpy() / np.linalg.norm(one.numpy(), axis=-1, keepdims=True)
    np.testing.assert_allclose(one, other, atol=TOLERANCE)
    assert np.std(other, axis=0).max() > 1e-2


def assert_comes_back(folder, clip, params, fresh):
  source = open_source(str(folder))
  check_settings(source, clip.size)
  loaded = load_weights(source, fresh, model=clip)
  # A scale in a file is a logarithm; all else is the same to the last bit.
  scale = {
    name: tree.pop('temperature')
    for name, tree in {'loaded': loaded, 'saved': dict(params)}.items()
  }
  np.testing.assert_allclose(scale['loaded'], scale['saved'], rtol=1e-6)
  params = {name: part for name, part in params.items() if name != 'temperature'}
  for tree in (loaded, params):
    tree.pop('logit_scale')
  jax.tree.map(np.testing.assert_array_equal, loaded, params)


def test_transformers_loads_it_whole_and_computes_the_same(
  tmp_path, toy, random_params, toy_batch, torch, transformers
):
  clip, params = toy(adapter=None)
  write_huggingface(tmp_path / 'out', params, model=clip, cleaning='sound')
  model, report = transformers.SiglipModel.from_pretrained(
    tmp_path / 'out', output_loading_info=True
  )
  assert not any(report.values()), report

  def theirs(pixels, tokens):
    output = model(pixel_values=pixels, input_ids=tokens)
    return output.image_embeds, output.text_embeds

  assert_features(clip, params, toy_batch, theirs, torch)
  assert model.logit_bias.item() == float(params['logit_bias'])
  np.testing.assert_allclose(
    model.logit_scale.exp().item(), 1 / float(params['temperature']), rtol=1e-5
  )
  assert_comes_back(tmp_path / 'out', clip, params, random_params(clip, seed=2))


def test_the_processor_resizes_and_normalises_as_the_evaluation(
  tmp_path, toy, processors
):
  clip, params = toy(adapter=None)
  write_huggingface(tmp_path / 'out', params, model=clip, cleaning='sound')
  prepare = processors.AutoImageProcessor.from_pretrained(tmp_path / 'out')
  assert type(prepare).__name__.startswith('SiglipImageProcessor')
  picture = np.random.default_rng(0).integers(0, 256, (16, 16, 3)).astype(np.uint8)
  found = prepare(picture, return_tensors='np')['pixel_values'][0]
  expected = normalize(picture[None], **clip.size.preprocessing.normalisation)
  np.testing.assert_allclose(found.transpose(1, 2, 0), expected[0], atol=1e-6)


def test_the_tokenizer_comes_from_beside_the_weights(tmp_path, toy, caplog):
  clip, params = toy(adapter=None)
  write_huggingface(tmp_path / 'bare', params, model=clip, cleaning='sound')
  assert 'Expected the tokenizer of SigLIP (tokenizer.json, spiece' in caplog.text
  (tmp_path / 'weights').mkdir()
  for name, text in WORDS.items():
    (tmp_path / 'weights' / name).write_text(text)
  beside = [tmp_path / 'none', tmp_path / 'weights']
  write_huggingface(
    tmp_path / 'out', params, model=clip, cleaning='sound', beside=beside
  )
  for name, text in WORDS.items():
    assert (tmp_path / 'out' / name).read_text() == text
    assert not (tmp_path / 'bare' / name).exists()


def test_openclip_loads_it_whole_and_computes_the_same(
  tmp_path, toy, random_params, toy_batch, torch, open_clip, monkeypatch
):
  import timm

  clip, params = toy(adapter=None, activation='gelu')
  monkeypatch.setitem(config_files.TIMM_TOWERS, (16, 2, 2, 8), ('base', (16,)))
  monkeypatch.setattr(config_files, 'timm_tower', lambda size: TIMM_NAME)
  write_open_clip(tmp_path / 'out', params, model=clip, cleaning='sound')
  small = {'embed_dim': 16, 'depth': 2, 'num_heads': 2, 'img_size': 16, 'patch_size': 8}
  make = timm.create_model
  with unittest.mock.patch('timm.create_model', functools.partial(make, **small)):
    # Names that are missing or that nothing asks for are an error of its own.
    model, *_ = open_clip.create_model_and_transforms(f'local-dir:{tmp_path}/out')
  model.eval()

  def theirs(pixels, tokens):
    return model.encode_image(pixels), model.encode_text(tokens)

  assert_features(clip, params, toy_batch, theirs, torch)
  assert_comes_back(tmp_path / 'out', clip, params, random_params(clip, seed=2))


def test_every_named_siglip_has_its_tower_in_timm(torch):
  timm = pytest.importorskip('timm')
  sizes = {name: size for name, size in SIZES.items() if size.family is SIGLIP}
  del sizes['tiny-siglip']
  for name, size in sizes.items():
    assert timm.is_model(timm_tower(size)), name
    ratio = open_clip_config(size)['model_cfg']['text_cfg']['mlp_ratio']
    assert int(size.text.width * ratio) == size.text.inner
  with pytest.raises(UserError, match=r'open_clip: .* one of width 128, 4 layers'):
    timm_tower(SIZES['tiny-siglip'])
  with pytest.raises(UserError, match=r'timm has, of 224, 256, 384, 512 px'):
    timm_tower(named_size('ViT-B-16-SigLIP', image_size=240))


def test_the_gelu_of_openclip_is_told():
  assert TIMM_TANH.fullmatch(timm_tower(SIZES['ViT-SO400M-16-SigLIP2-256']))
  assert not other_gelu(SIZES['ViT-SO400M-16-SigLIP2-256'])
  assert other_gelu(SIZES['ViT-B-16-SigLIP'])
  assert not other_gelu(named_size('ViT-B-16-SigLIP,activation=gelu'))


@pytest.mark.parametrize('shared', ['text', 'both'])
def test_harma_on_siglip_comes_back_bit_for_bit(
  tmp_path, toy, random_params, toy_batch, shared
):
  clip, params = toy(shared_adapter=shared, adapter_padding='padding')
  write_remote(tmp_path / 'out', params, model=clip, cleaning='sound')
  source = open_source(str(tmp_path / 'out'))
  check_settings(source, clip.size)
  assert source.format == 'harma_siglip'
  assert 'siglip' in recognise(source)[0].lower()
  loaded = load_weights(source, random_params(clip, seed=2), model=clip)
  jax.tree.map(np.testing.assert_array_equal, loaded, params)
  config = json.loads((tmp_path / 'out/config.json').read_text())
  assert (config['family'], config['activation']) == ('siglip', 'gelu_tanh')
