"""LoRA in folders of PEFT, which computes the same, and its own folders here."""

import dataclasses
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from harma_jax.errors import UserError
from harma_jax.model.families import CLIP, SIGLIP
from harma_jax.model.lora import LoraSettings
from harma_jax.weights.export import write_huggingface
from harma_jax.weights.names import paths_of, tree_of
from harma_jax.weights.peft import is_peft, load_peft, write_peft
from harma_jax.weights.sources import open_source

TOLERANCE = 1e-5
ALPHA = 6.0
BOTH = pytest.mark.parametrize('family', [CLIP, SIGLIP], ids=['CLIP', 'SigLIP'])


@pytest.fixture
def toy(make_clip, random_params):
  """`toy(family, mlp)`: a model with LoRA, and random parameters."""

  def make(family, *, mlp=True, seed=0):
    activation = 'gelu' if family is CLIP else 'gelu_tanh'
    adapter = LoraSettings(rank=3, alpha=ALPHA, mlp=mlp)
    clip = make_clip(family=family, activation=activation, adapter=adapter)
    return clip, random_params(clip, seed=seed)

  return make


@pytest.fixture
def backbone(tmp_path, transformers, toy):
  """`backbone(family)`: transformers' model of the toy without its LoRA."""

  def load(family):
    clip, params = toy(family)
    plain = {p: leaf for p, leaf in paths_of(params).items() if 'lora' not in p}
    folder = tmp_path / 'backbone'
    write_huggingface(folder, tree_of(plain), model=clip, cleaning='sound')
    name = 'CLIPModel' if family is CLIP else 'SiglipModel'
    return getattr(transformers, name).from_pretrained(folder)

  return load


@functools.partial(jax.jit, static_argnums=0)
def encode(clip, params, images, tokens):
  return clip.encode_image(params, images), clip.encode_text(params, tokens)


def assert_features(clip, params, batch, theirs, torch):
  images = batch['images'].astype(np.float32) / 127 - 1
  expected = encode(clip, params, jnp.asarray(images), batch['tokens'])
  with torch.no_grad():
    output = theirs(
      pixel_values=torch.tensor(images.transpose(0, 3, 1, 2)),
      input_ids=torch.from_numpy(batch['tokens']).long(),
    )
  found = output.image_embeds.numpy(), output.text_embeds.numpy()
  for one, other in zip(found, expected, strict=True):
    np.testing.assert_allclose(one, other, atol=TOLERANCE)
  return found


@BOTH
@pytest.mark.parametrize('mlp', [False, True])
def test_peft_reads_it_and_computes_the_same(
  tmp_path, toy, backbone, toy_batch, torch, family, mlp
):
  peft = pytest.importorskip('peft')
  clip, params = toy(family, mlp=mlp)
  model = backbone(family)
  plain, _ = toy(family)
  weights = {p: leaf for p, leaf in paths_of(toy(family)[1]).items() if 'lora' not in p}
  lora = {p: leaf for p, leaf in paths_of(params).items() if 'lora' in p}
  params = tree_of(weights | lora)
  write_peft(tmp_path / 'out', params, model=clip, cleaning='sound', base='some/clip')
  theirs = peft.PeftModel.from_pretrained(model, tmp_path / 'out')
  used = {name for name, _ in theirs.named_parameters() if 'lora_' in name}
  written = safetensors.numpy.load_file(tmp_path / 'out/adapter_model.safetensors')
  assert {name.replace('.default', '') for name in used} == set(written)
  found = assert_features(clip, params, toy_batch, theirs, torch)
  assert differs_from_backbone(plain, weights, toy_batch, found)


def differs_from_backbone(clip, weights, batch, found):
  """Whether the LoRA changes what the backbone computes."""
  bare = dataclasses.replace(clip, adapter=None)
  images = jnp.asarray(batch['images'].astype(np.float32) / 127 - 1)
  plain = encode(bare, tree_of(weights), images, batch['tokens'])
  return all(
    np.abs(one - other).max() > 1e-2 for one, other in zip(plain, found, strict=True)
  )


@BOTH
def test_it_comes_back_bit_for_bit(tmp_path, toy, family):
  clip, params = toy(family)
  _, fresh = toy(family, seed=1)
  write_peft(tmp_path / 'out', params, model=clip, cleaning='sound', base='')
  assert is_peft(tmp_path / 'out')
  loaded, record = load_peft(tmp_path / 'out', fresh, model=clip, cleaning='sound')
  for path, leaf in paths_of(loaded).items():
    wanted = params if 'lora' in path else fresh
    np.testing.assert_array_equal(leaf, paths_of(wanted)[path])
  assert record == {'path': f'{tmp_path}/out', 'base': ''}


def test_another_cleaning_is_warned_of(tmp_path, toy, caplog):
  clip, params = toy(CLIP)
  write_peft(tmp_path / 'out', params, model=clip, cleaning='released', base='')
  load_peft(tmp_path / 'out', params, model=clip, cleaning='sound')
  assert 'data.cleaning=released in training, here it is sound' in caplog.text


@BOTH
@pytest.mark.parametrize(
  ('targets', 'mlp'),
  [
    (['q_proj', 'v_proj'], False),
    (r'.*vision_model.encoder.*\.(q_proj|fc1|fc2)', True),
  ],
)
def test_lora_that_peft_wrote_is_computed_as_by_peft(
  tmp_path, toy, backbone, toy_batch, torch, family, targets, mlp
):
  peft = pytest.importorskip('peft')
  model = backbone(family)
  config = peft.LoraConfig(
    r=3, lora_alpha=ALPHA, target_modules=targets, init_lora_weights=False
  )
  torch.manual_seed(0)
  theirs = peft.get_peft_model(model, config).eval()
  theirs.save_pretrained(tmp_path / 'lora')
  clip, params = toy(family, mlp=mlp)
  weights = {p: leaf for p, leaf in paths_of(toy(family)[1]).items() if 'lora' not in p}
  # As for fresh LoRA, whose second factor is zero.
  lora = {
    p: jnp.zeros_like(leaf) if p.endswith('b/kernel') else leaf
    for p, leaf in paths_of(params).items()
    if 'lora' in p
  }
  loaded, record = load_peft(
    tmp_path / 'lora', tree_of(weights | lora), model=clip, cleaning='sound'
  )
  assert record['base'] == f'{tmp_path}/backbone'
  found = assert_features(clip, loaded, toy_batch, theirs, torch)
  bare = encode(
    clip,
    tree_of(weights | lora),
    jnp.asarray(toy_batch['images'].astype(np.float32) / 127 - 1),
    toy_batch['tokens'],
  )
  assert np.abs(bare[0] - found[0]).max() > 1e-3


@pytest.fixture
def written(tmp_path, toy):
  """A folder of PEFT's, `change(**fields)` of its config, and how to load it."""
  clip, params = toy(CLIP)
  folder = tmp_path / 'out'
  write_peft(folder, params, model=clip, cleaning='sound', base='')

  def change(*, drop=None, add=None, **fields):
    path = folder / 'adapter_config.json'
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))
    path = folder / 'adapter_model.safetensors'
    tensors = safetensors.numpy.load_file(path)
    tensors.pop(drop, None)
    tensors |= {add: np.zeros((3, 4), np.float32)} if add else {}
    safetensors.numpy.save_file(tensors, path)
    return load_peft(folder, params, model=clip, cleaning='sound')

  return change


@pytest.mark.parametrize(
  ('option', 'value'),
  [
    ('use_dora', True),
    ('use_rslora', True),
    ('modules_to_save', ['visual_projection']),
    ('bias', 'lora_only'),
    ('lora_bias', True),
    ('fan_in_fan_out', True),
    ('rank_pattern', {'fc1': 2}),
    ('alpha_pattern', {'fc1': 2}),
    ('init_lora_weights', 'pissa'),
    ('layers_to_transform', [0]),
    ('peft_type', 'LOHA'),
    ('an_option_of_tomorrow', True),
  ],
)
def test_options_that_are_not_computed_are_refused_by_name(written, option, value):
  with pytest.raises(UserError, match=rf'plain LoRA of PEFT.*found {option}=.*merge_a'):
    written(**{option: value})


def test_options_that_change_nothing_are_taken(written):
  written(lora_dropout=0.1, init_lora_weights='gaussian', task_type='X', use_dora=False)


@pytest.mark.parametrize(
  ('field', 'value', 'flag'),
  [('r', 5, 'lora.rank=5'), ('lora_alpha', 32, 'lora.alpha=32')],
)
def test_another_rank_or_scale_names_the_flags(written, field, value, flag):
  with pytest.raises(UserError, match=rf'found model.adapters=lora.*Set .*{flag}'):
    written(**{field: value})


def test_missing_and_unexpected_tensors_are_listed(written):
  name = 'base_model.model.text_model.encoder.layers.1.self_attn.q_proj.lora_A.weight'
  other = name.replace('q_proj', 'k_proj')
  with pytest.raises(UserError, match=rf'missing: {name}; unexpected: {other}'):
    written(drop=name, add=other)


def test_another_shape_is_told(written):
  name = 'base_model.model.text_model.encoder.layers.1.self_attn.q_proj.lora_A.weight'
  with pytest.raises(UserError, match=r'found \[\(4, 3\), \(12, 3\)\]'):
    written(add=name)


def test_adapters_alone_are_no_weights_to_start_from(tmp_path, written):
  folder = tmp_path / 'out'
  with pytest.raises(UserError, match=rf'adapters alone.*--config.adapter={folder}'):
    open_source(str(folder))
