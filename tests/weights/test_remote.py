"""The exported model file: against the original's arrays and, where torch is, JAX."""

import ast
import copy
import importlib.util
import json
import pathlib
import shutil
import sys

import jax
import numpy as np
import pytest
import safetensors.numpy

from harma_jax.data.images import normalize
from harma_jax.model.adapter import AdapterSettings
from harma_jax.model.clip import Clip
from harma_jax.model.families import CLIP, SIGLIP
from harma_jax.model.sizes import SIZES
from harma_jax.weights.names import give, names_of, paths_of

FILE = pathlib.Path(__file__).parents[2] / 'harma_jax/weights/remote/modeling_harma.py'
SOURCE = FILE.read_text()
TOLERANCE = 1e-5

# Settings of the toy, so that every switch and every rule of sharing is met.
MODELS = {
  'text': {'shared_adapter': 'text'},
  'text, padding': {'shared_adapter': 'text', 'adapter_padding': 'padding'},
  'both, deeper image': {'shared_adapter': 'both', 'image_layers': 3},
  'both, deeper text, padding': {
    'shared_adapter': 'both',
    'adapter_padding': 'padding',
    'image_layers': 2,
    'text_layers': 5,
  },
  'none, quick': {'shared_adapter': 'none', 'activation': 'quick_gelu'},
  'SigLIP': {'family': SIGLIP, 'activation': 'gelu_tanh', 'shared_adapter': 'both'},
}


@pytest.fixture(scope='module')
def remote(torch):
  """The file as a module."""
  spec = importlib.util.spec_from_file_location('modeling_harma_of_tests', FILE)
  module = importlib.util.module_from_spec(spec)
  sys.modules[spec.name] = module
  spec.loader.exec_module(module)
  yield module
  del sys.modules[spec.name]


@pytest.fixture(scope='module')
def load(torch, tmp_path_factory):
  """`load(folder)`: the model and what transformers says about loading it."""
  transformers = pytest.importorskip('transformers')

  def from_folder(folder):
    return transformers.AutoModel.from_pretrained(
      folder, trust_remote_code=True, output_loading_info=True
    )

  # The code is copied there before it runs; not into the user's cache.
  cache = str(tmp_path_factory.mktemp('modules'))
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr('transformers.dynamic_module_utils.HF_MODULES_CACHE', cache)
    patch.setattr(sys, 'path', list(sys.path))
    yield from_folder


@pytest.fixture(scope='module')
def inputs(toy_batch):
  return np.asarray(normalize(toy_batch['images'])), toy_batch['tokens']


def config_of(clip):
  """The fields of a `HarmaConfig`."""
  size, adapter = clip.size, clip.adapter
  towers = {
    f'{tower}_{field}': getattr(getattr(size, tower), field)
    for tower in ('image', 'text')
    for field in ('width', 'layers', 'heads', 'mlp_width')
  }
  return towers | {
    'family': size.family.name.lower(),
    'text_activation': size.text_activation or '',
    'image_size': size.image_size,
    'patch_size': size.patch_size,
    'embedding': size.embedding,
    'context_length': size.context_length,
    'vocabulary': size.vocabulary,
    'activation': size.activation,
    'bottleneck': adapter.bottleneck,
    'shared_bottleneck': adapter.shared_bottleneck,
    'adapter_heads': adapter.heads,
    'shared_adapter': clip.shared_adapter,
    'adapter_padding': clip.adapter_padding,
  }


def tensors_of(clip, params):
  """The tensors by the names of the file."""
  leaves = paths_of(params)
  names = names_of(
    leaves,
    layout='harma' if clip.size.family is CLIP else 'harma_siglip',
    image_layers=clip.size.image.layers,
    text_layers=clip.size.text.layers,
    shared_adapter=clip.shared_adapter,
  )
  return renamed(give(names, leaves, patch=clip.size.patch_size))


def renamed(tensors):
  return {
    'clip.' + name.removeprefix('model.') if name != 'temp' else name: np.array(
      tensor, np.float32, order='C'
    )
    for name, tensor in tensors.items()
  }


def write(folder, *, config, tensors):
  auto = {'AutoConfig': 'HarmaConfig', 'AutoModel': 'HarmaModel'}
  auto = {name: f'modeling_harma.{ours}' for name, ours in auto.items()}
  folder.mkdir()
  shutil.copy(FILE, folder)
  text = json.dumps(config | {'model_type': 'harma', 'auto_map': auto})
  (folder / 'config.json').write_text(text)
  safetensors.numpy.save_file(
    tensors, folder / 'model.safetensors', metadata={'format': 'pt'}
  )
  return folder


def assert_no_remarks(info):
  assert not {kind: names for kind, names in info.items() if names}


def features_of(torch, model, images_nchw, tokens):
  with torch.no_grad():
    image = model.get_image_features(torch.tensor(images_nchw))
    text = model.get_text_features(torch.tensor(tokens, dtype=torch.int64))
  return image.numpy(), text.numpy()


def nchw(images):
  return images.transpose(0, 3, 1, 2)


@pytest.fixture
def export(make_clip, random_params, tmp_path):
  """`export(drop=None, **of_clip)`: the folder of a random toy, less one tensor."""

  def make(*, drop=None, **settings):
    clip = make_clip(**settings)
    tensors = tensors_of(clip, random_params(clip))
    tensors.pop(drop, None)
    return write(tmp_path / 'toy', config=config_of(clip), tensors=tensors)

  return make


@pytest.fixture(scope='module')
def both(make_clip, random_params, load, tmp_path_factory):
  """A loaded model whose towers share, three layers and two; not to be changed."""
  clip = make_clip(shared_adapter='both', image_layers=3)
  tensors = tensors_of(clip, random_params(clip))
  folder = tmp_path_factory.mktemp('both') / 'toy'
  return load(write(folder, config=config_of(clip), tensors=tensors))[0]


# Without torch.


def test_the_file_is_short():
  assert len(SOURCE.splitlines()) < 360


def test_it_imports_torch_and_transformers_alone():
  imported = set()
  for node in ast.walk(ast.parse(SOURCE)):
    if isinstance(node, ast.Import):
      imported |= {alias.name for alias in node.names}
    elif isinstance(node, ast.ImportFrom):
      assert not node.level, 'another file would have to travel along'
      imported.add(node.module)
  packages = {name.split('.')[0] for name in imported}
  assert packages - set(sys.stdlib_module_names) == {'torch', 'transformers'}


def test_it_runs_nothing_that_is_read():
  nodes = ast.walk(ast.parse(SOURCE))
  names = {node.id for node in nodes if isinstance(node, ast.Name)}
  assert not names & {'eval', 'exec', 'compile', 'open', '__import__', 'pickle'}


@pytest.mark.parametrize('family', [CLIP, SIGLIP])
def test_every_part_of_a_name_is_an_attribute_of_a_module(
  make_clip, random_params, family
):
  clip = make_clip(shared_adapter='both', family=family)
  of_torch = {'weight', 'bias', 'in_proj_weight', 'in_proj_bias', 'out_proj'}
  attributes = {
    node.attr for node in ast.walk(ast.parse(SOURCE)) if isinstance(node, ast.Attribute)
  }
  for name in tensors_of(clip, random_params(clip)):
    parts = {part for part in name.split('.') if not part.isdigit()}
    assert parts <= attributes | of_torch, name


def test_the_defaults_are_harma_on_vit_b_32():
  fields = {
    node.target.id: ast.literal_eval(node.value)
    for node in ast.walk(ast.parse(SOURCE))
    if isinstance(node, ast.AnnAssign)
  }
  clip = Clip(size=SIZES['ViT-B-32'], adapter=AdapterSettings())
  assert fields == config_of(clip) | {'tie_word_embeddings': True}


# Against JAX.


@pytest.mark.parametrize('settings', MODELS.values(), ids=MODELS)
def test_it_loads_without_remarks_and_agrees_with_jax(
  settings, make_clip, random_params, inputs, load, torch, tmp_path
):
  clip = make_clip(**settings)
  params = random_params(clip)
  tensors = tensors_of(clip, params)
  model, info = load(write(tmp_path / 'toy', config=config_of(clip), tensors=tensors))
  assert_no_remarks(info)
  images, tokens = inputs
  image, text = features_of(torch, model, nchw(images), tokens)
  np.testing.assert_allclose(
    image, jax.jit(clip.encode_image)(params, images), rtol=0, atol=TOLERANCE
  )
  np.testing.assert_allclose(
    text, jax.jit(clip.encode_text)(params, tokens), rtol=0, atol=TOLERANCE
  )


@pytest.mark.parametrize('name', ['harma_released.npz', 'harma_shared_quickgelu.npz'])
def test_features_are_those_of_the_original(name, reference_dir, load, torch, tmp_path):
  arrays = np.load(reference_dir / name)
  tensors = {
    key.removeprefix('weights/'): array
    for key, array in arrays.items()
    if key.startswith('weights/')
  }
  config = config_of_reference(json.loads(str(arrays['meta'])))
  folder = write(tmp_path / 'original', config=config, tensors=renamed(tensors))
  model, info = load(folder)
  assert_no_remarks(info)
  computed = features_of(
    torch, model, arrays['inputs/images_nchw'], arrays['inputs/tokens']
  )
  for features, kind in zip(computed, ('image', 'text'), strict=True):
    expected = arrays[f'outputs/{kind}_features']
    np.testing.assert_allclose(features, expected, rtol=0, atol=TOLERANCE)


def config_of_reference(meta):
  image, text, adapter = meta['vision_cfg'], meta['text_cfg'], meta['adapter']
  return {
    'image_size': image['image_size'],
    'patch_size': image['patch_size'],
    'image_width': image['width'],
    'image_layers': image['layers'],
    'image_heads': image['width'] // image['head_width'],
    'text_width': text['width'],
    'text_layers': text['layers'],
    'text_heads': text['heads'],
    'embedding': meta['embed_dim'],
    'context_length': text['context_length'],
    'vocabulary': text['vocab_size'],
    'activation': 'quick_gelu' if meta['quick_gelu'] else 'gelu',
    'bottleneck': adapter['bottleneck'],
    'shared_bottleneck': adapter['shared_bottleneck'],
    'adapter_heads': adapter['heads'],
    'shared_adapter': meta['sharing'],
    'adapter_padding': 'none',
  }


# What users do with it.


def test_scores_are_cosines_divided_by_the_temperature(both, inputs, torch):
  image, text = features_of(torch, both, nchw(inputs[0])[:3], inputs[1])
  images = torch.tensor(nchw(inputs[0])[:3])
  tokens = torch.tensor(inputs[1], dtype=torch.int64)
  with torch.no_grad():
    output = both(input_ids=tokens, pixel_values=images)
    masked = both(tokens, images, attention_mask=torch.ones_like(tokens))
  np.testing.assert_array_equal(output.image_embeds, image)
  np.testing.assert_array_equal(output.text_embeds, text)
  np.testing.assert_allclose(output.logits_per_image, image @ text.T / 0.07, atol=1e-4)
  assert torch.equal(output.logits_per_text, output.logits_per_image.T)
  assert torch.equal(output.logits_per_image, masked.logits_per_image)
  for features in (image, text):
    assert features.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, atol=1e-6)


def test_features_are_the_same_where_gradients_are_asked_for(both, inputs, torch):
  # Without gradients torch takes other kernels.
  fast = features_of(torch, both, nchw(inputs[0]), inputs[1])
  slow = (
    both.get_image_features(torch.tensor(nchw(inputs[0]))),
    both.get_text_features(torch.tensor(inputs[1], dtype=torch.int64)),
  )
  for one, other in zip(fast, slow, strict=True):
    assert other.requires_grad
    np.testing.assert_allclose(one, other.detach(), rtol=0, atol=TOLERANCE)


def test_shared_adapters_are_one_tensor_with_several_names(both):
  place = '{}transformer.resblocks.{}.mmadapter.BiShareAdapterxx.l1.weight'
  image = [both.clip.get_parameter(place.format('visual.', i)) for i in range(3)]
  text = [both.clip.get_parameter(place.format('', i)) for i in range(2)]
  assert image[0] is image[1] is text[0]
  assert image[2] is text[1]
  assert image[0] is not image[2]


def test_saving_and_loading_again_keeps_every_tensor(both, load, tmp_path, torch):
  both.save_pretrained(tmp_path)
  again, info = load(tmp_path)
  assert_no_remarks(info)
  before, after = both.state_dict(), again.state_dict()
  assert before.keys() == after.keys()
  assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_file_without_the_unused_scale_is_complete(export, load):
  model, info = load(export(drop='clip.logit_scale'))
  assert_no_remarks(info)
  assert model.clip.logit_scale.isfinite()


def test_a_missing_tensor_is_reported(export, load):
  name = 'clip.transformer.resblocks.1.mmadapter.gate1'
  model, info = load(export(drop=name))
  assert set(info['missing_keys']) == {name}
  assert model.get_parameter(name).item() == pytest.approx(0.6)


def test_fresh_adapters_leave_the_features_unchanged(make_clip, inputs, remote, torch):
  clip = make_clip(shared_adapter='both', image_layers=3)
  model = remote.HarmaModel(remote.HarmaConfig(**config_of(clip))).eval()
  assert all(parameter.isfinite().all() for parameter in model.parameters())
  assert model.temp.item() == pytest.approx(0.07)
  with_adapters = features_of(torch, model, nchw(inputs[0]), inputs[1])
  for module in model.modules():
    if isinstance(module, remote.Adapter):
      module.forward = lambda h, padding: torch.zeros_like(h)
  without = features_of(torch, model, nchw(inputs[0]), inputs[1])
  for one, other in zip(with_adapters, without, strict=True):
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize('padding', ['none', 'padding'])
def test_only_masked_adapters_allow_captions_cut_short(
  padding, inputs, export, load, torch
):
  model, _ = load(export(adapter_padding=padding))
  short = inputs[1][[0, 7]]  # three tokens each
  _, whole = features_of(torch, model, nchw(inputs[0]), short)
  _, cut = features_of(torch, model, nchw(inputs[0]), short[:, :3])
  assert (np.abs(whole - cut).max() < TOLERANCE) == (padding == 'padding')


def test_half_precision_gives_f32_features_nearby(both, inputs, torch):
  images, tokens = nchw(inputs[0]), inputs[1]
  expected = features_of(torch, both, images, tokens)
  half = copy.deepcopy(both).to(torch.bfloat16)
  for mine, theirs in zip(
    features_of(torch, half, images, tokens), expected, strict=True
  ):
    assert mine.dtype == np.float32
    assert np.sum(mine * theirs, axis=1).min() > 0.99


def test_inputs_of_another_size_are_refused(both, torch):
  with pytest.raises(ValueError, match=r'expected a batch of \(3, 16, 16\); found \(2'):
    both.get_image_features(torch.zeros(2, 3, 16, 24))
  with pytest.raises(ValueError, match='expected 7 tokens at most; found 8'):
    both.get_text_features(torch.zeros(2, 8, dtype=torch.int64))


def test_an_unknown_choice_is_refused(remote):
  with pytest.raises(ValueError, match=r'config\.shared_adapter: .*; found .image'):
    remote.HarmaModel(remote.HarmaConfig(shared_adapter='image'))
