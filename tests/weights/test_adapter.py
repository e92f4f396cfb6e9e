"""Adapters alone: a folder of them, and what it is refused for."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from harma_jax.errors import UserError
from harma_jax.model.adapter import AdapterSettings
from harma_jax.model.clip import Clip
from harma_jax.model.lora import LoraSettings
from harma_jax.model.sizes import SIZES
from harma_jax.weights.adapter import (
  CONFIG_FILE,
  WEIGHTS_FILE,
  backbone_hash,
  load_adapter,
  write_adapter,
)
from harma_jax.weights.load import is_new
from harma_jax.weights.names import paths_of, tree_of


@pytest.fixture
def adapters(make_clip, random_params, tmp_path):
  """A model, its parameters, and the folder of its adapters."""
  clip = make_clip(shared_adapter='both', adapter_padding='padding')
  params = random_params(clip, seed=1)
  params['temperature'] = jnp.float32(0.03)
  folder = tmp_path / 'adapters'
  origin = {'init': 'somewhere/backbone'}
  write_adapter(
    folder, params, model=clip, size='toy', cleaning='sound', provenance=origin
  )
  return clip, params, folder


def other_adapters(params, others):
  """The backbone of `params` with what `others` has besides."""
  others = paths_of(others)
  leaves = {
    path: others[path] if is_new(path) or path == 'temperature' else leaf
    for path, leaf in paths_of(params).items()
  }
  return tree_of(leaves)


def test_adapters_come_back_bit_for_bit(adapters, random_params):
  clip, params, folder = adapters
  fresh = other_adapters(params, random_params(clip, seed=2))
  assert not np.array_equal(fresh['temperature'], params['temperature'])
  loaded, record = load_adapter(folder, fresh, model=clip, cleaning='sound')
  jax.tree.map(np.testing.assert_array_equal, loaded, params)
  assert record['backbone']['provenance'] == {'init': 'somewhere/backbone'}


def test_the_folder_holds_adapters_alone_under_our_names(adapters):
  _, params, folder = adapters
  written = safetensors.numpy.load_file(folder / WEIGHTS_FILE)
  expected = {path for path in paths_of(params) if is_new(path)} | {'temperature'}
  assert {name.replace('.', '/') for name in written} == expected
  config = json.loads((folder / CONFIG_FILE).read_text())
  assert config['backbone']['sha256'] == backbone_hash(params)
  assert (config['size'], config['shared_adapter']) == ('toy', 'both')
  assert (folder / WEIGHTS_FILE).stat().st_mode & 0o777 == 0o644


def test_another_backbone_is_refused(adapters):
  clip, params, folder = adapters
  other = jax.tree.map(lambda leaf: leaf, params)
  scale = other['image']['ln_pre']['scale']
  other['image']['ln_pre']['scale'] = scale.at[0].add(1e-6)
  right, wrong = (backbone_hash(tree) for tree in (params, other))
  with pytest.raises(UserError, match=rf'{right}.*{wrong}.*somewhere/backbone'):
    load_adapter(folder, other, model=clip, cleaning='sound')


def test_the_hash_ignores_what_is_not_of_the_backbone(make_clip, random_params):
  clip = make_clip()
  params = random_params(clip, seed=1)
  others = other_adapters(params, random_params(clip, seed=2))
  others['logit_scale'] = jnp.float32(1.0)
  expected = backbone_hash(params)
  assert backbone_hash(others) == expected
  assert backbone_hash(random_params(clip, seed=2)) != expected


def test_other_settings_are_refused_by_name(adapters, make_clip, random_params):
  _, _, folder = adapters
  other = make_clip(shared_adapter='both', adapter_padding='none')
  with pytest.raises(UserError, match="adapter_padding is 'padding' there, 'none'"):
    load_adapter(folder, random_params(other), model=other, cleaning='sound')
  bare = make_clip(adapter=None)
  with pytest.raises(UserError, match=r'--config\.model\.adapters=harma'):
    load_adapter(folder, random_params(bare), model=bare, cleaning='sound')
  lora = make_clip(adapter=LoraSettings())
  with pytest.raises(UserError, match=r'found model\.adapters=lora'):
    load_adapter(folder, random_params(lora), model=lora, cleaning='sound')


def test_folders_that_name_no_kind_of_adapters_hold_those_of_harma(adapters):
  clip, params, folder = adapters
  config = json.loads((folder / CONFIG_FILE).read_text())
  assert (config.pop('adapters'), config.pop('adapter_attention')) == ('harma', True)
  (folder / CONFIG_FILE).write_text(json.dumps(config))
  loaded, _ = load_adapter(folder, params, model=clip, cleaning='sound')
  jax.tree.map(np.testing.assert_array_equal, loaded, params)


@pytest.mark.parametrize(
  ('changes', 'cleaning', 'warned'),
  [
    ({}, 'sound', False),
    ({}, 'released', True),
    ({'cleaning': None}, 'released', False),  # as before there was a choice
    ({'cleaning': None}, 'sound', True),
  ],
)
def test_captions_cleaned_in_another_way_are_warned_of(
  adapters, caplog, changes, cleaning, warned
):
  clip, params, folder = adapters
  config = json.loads((folder / CONFIG_FILE).read_text()) | changes
  if config['cleaning'] is None:
    del config['cleaning']
  (folder / CONFIG_FILE).write_text(json.dumps(config))
  load_adapter(folder, params, model=clip, cleaning=cleaning)
  trained = config.get('cleaning', 'released')
  assert (f'--config.data.cleaning={trained} to keep' in caplog.text) == warned


def test_folders_that_hold_no_adapters_are_refused(adapters, tmp_path):
  clip, params, folder = adapters
  with pytest.raises(UserError, match=r'export --format=adapter.*--config\.adapter='):
    load_adapter(tmp_path / 'none', params, model=clip, cleaning='sound')
  config = json.loads((folder / CONFIG_FILE).read_text())
  (folder / CONFIG_FILE).write_text(json.dumps(config | {'version': 9}))
  with pytest.raises(UserError, match='expected version 1 of the format; found 9'):
    load_adapter(folder, params, model=clip, cleaning='sound')
  (folder / CONFIG_FILE).write_text(json.dumps(config))
  (folder / WEIGHTS_FILE).write_bytes(b'cut off')
  with pytest.raises(UserError, match='readable weights'):
    load_adapter(folder, params, model=clip, cleaning='sound')


def test_adapters_of_vit_b_32_take_24_megabytes(tmp_path):
  settings = AdapterSettings(bottleneck=128, shared_bottleneck=64, heads=8)
  clip = Clip(size=SIZES['ViT-B-32'], adapter=settings)
  shapes = jax.eval_shape(clip.init, jax.random.key(0))
  params = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), shapes)
  more = {'size': 'ViT-B-32', 'cleaning': 'sound', 'provenance': {}}
  write_adapter(tmp_path / 'out', params, model=clip, **more)
  size = (tmp_path / 'out' / WEIGHTS_FILE).stat().st_size
  assert 0 <= size - 4 * 5_934_397 < 10_000
