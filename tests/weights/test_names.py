import jax
import numpy as np
import pytest

from harma_jax.errors import UserError
from harma_jax.weights.layouts import LAYOUTS
from harma_jax.weights.names import (
  give,
  names_of,
  paths_of,
  take,
  tree_of,
)


def names_for(clip, params):
  return names_of(
    paths_of(params),
    layout='harma',
    image_layers=clip.size.image.layers,
    text_layers=clip.size.text.layers,
    shared_adapter=clip.shared_adapter,
  )


@pytest.fixture(scope='module')
def both(make_clip, random_params):
  """A model whose towers share adapters, its names, leaves and their tensors."""
  clip = make_clip(shared_adapter='both')
  leaves = paths_of(random_params(clip))
  names = names_for(clip, tree_of(leaves))
  return names, leaves, give(names, leaves, patch=8)


@pytest.mark.parametrize('shared_adapter', ['text', 'both', 'none'])
@pytest.mark.parametrize('depths', [(2, 2), (3, 2), (1, 3)])
def test_there_and_back_keeps_every_bit(
  make_clip, random_params, shared_adapter, depths
):
  clip = make_clip(
    image_layers=depths[0], text_layers=depths[1], shared_adapter=shared_adapter
  )
  params = random_params(clip)
  names, leaves = names_for(clip, params), paths_of(params)
  tensors = give(names, leaves, patch=8)
  back = dict(take(names, tensors))
  assert set(back) == set(leaves)
  jax.tree.map(np.testing.assert_array_equal, back, dict(leaves))


def test_names_and_layouts_are_those_of_pytorch(both):
  _, leaves, tensors = both
  block = 'model.visual.transformer.resblocks.1'
  stack = {
    name.removeprefix('image/transformer/blocks/'): np.asarray(leaf)[1]
    for name, leaf in leaves.items()
    if name.startswith('image/transformer/blocks/')
  }
  expected = {
    f'{block}.attn.in_proj_weight': stack['attention/qkv/kernel'].T,
    f'{block}.attn.out_proj.weight': stack['attention/out/kernel'].T,
    f'{block}.mlp.c_fc.weight': stack['mlp/up/kernel'].T,
    f'{block}.mlp.c_proj.bias': stack['mlp/down/bias'],
    f'{block}.ln_2.weight': stack['ln_2/scale'],
    f'{block}.gate1': stack['block_gate'],
    f'{block}.mmadapter.gate1': stack['adapter/adapter_gate'],
    f'{block}.mmadapter.img_proj_up.weight': stack['adapter/up/kernel'].T,
    'model.visual.proj': leaves['image/projection'],
    'model.text_projection': leaves['text/projection'],
    'model.token_embedding.weight': leaves['text/token_embedding'],
    'temp': leaves['temperature'],
  }
  for name, array in expected.items():
    np.testing.assert_array_equal(tensors[name], array, err_msg=name)


def test_the_patch_embedding_is_the_kernel_of_a_convolution(both):
  _, leaves, tensors = both
  kernel = tensors['model.visual.conv1.weight']
  assert kernel.shape == (16, 3, 8, 8)
  image = np.random.default_rng(0).normal(size=(8, 8, 3))
  convolved = [
    sum(
      kernel[out, channel, y, x] * image[y, x, channel]
      for channel in range(3)
      for y in range(8)
      for x in range(8)
    )
    for out in range(16)
  ]
  ours = image.ravel() @ np.asarray(leaves['image/patch_embedding/kernel'])
  np.testing.assert_allclose(ours, convolved, rtol=1e-5)


def test_shared_tensors_go_by_the_names_of_both_towers(both):
  tensors = both[2]
  shared = 'transformer.resblocks.1.mmadapter.BiShareAdapterxx.l1.weight'
  np.testing.assert_array_equal(
    tensors[f'model.{shared}'], tensors[f'model.visual.{shared}']
  )


@pytest.mark.parametrize(
  ('depths', 'image', 'text'),
  [((3, 2), [0, 0, 1], [0, 1]), ((1, 3), [0], [0, 0, 0])],
)
def test_neighbouring_layers_of_the_deeper_tower_share(
  make_clip, random_params, depths, image, text
):
  clip = make_clip(image_layers=depths[0], text_layers=depths[1], shared_adapter='both')
  params = random_params(clip)
  tensors = give(names_for(clip, params), paths_of(params), patch=8)
  gates = np.asarray(params['shared_adapter']['shared_gate'])
  for tower, uses in (('visual.', image), ('', text)):
    for layer, use in enumerate(uses):
      block = f'model.{tower}transformer.resblocks.{layer}.mmadapter'
      assert tensors[f'{block}.BiShareAdapterxx.gate1'] == gates[use]


def test_text_only_sharing_has_no_names_in_the_image_tower(make_clip, random_params):
  clip = make_clip(shared_adapter='text')
  params = random_params(clip)
  tensors = give(names_for(clip, params), paths_of(params), patch=8)
  shared = [name for name in tensors if 'BiShareAdapterxx' in name]
  assert shared
  assert not [name for name in shared if 'visual' in name]


def test_an_altered_copy_of_a_shared_tensor_is_refused(both):
  names, _, tensors = both
  shared = 'transformer.resblocks.0.mmadapter.BiShareAdapterxx.l2.bias'
  for name in (f'model.{shared}', f'model.visual.{shared}'):
    altered = tensors | {name: tensors[name] + 1}
    with pytest.raises(UserError, match='to be one shared tensor; found different'):
      dict(take(names, altered))


def test_a_missing_copy_of_a_shared_tensor_is_no_loss(both):
  names, leaves, tensors = both
  alias = next(alias for name in names for group in name.aliases for alias in group)
  kept = {name: tensor for name, tensor in tensors.items() if name != alias}
  jax.tree.map(np.testing.assert_array_equal, dict(take(names, kept)), dict(leaves))


def test_missing_and_unexpected_tensors_are_listed(both):
  names, _, tensors = both
  renamed = dict(tensors)
  renamed['model.visual.projection'] = renamed.pop('model.visual.proj')
  message = (
    r'1 are missing: model\.visual\.proj; 1 are unexpected: model\.visual\.projection\.'
  )
  with pytest.raises(UserError, match=message):
    take(names, renamed)


def test_an_unexpected_tensor_alone_is_refused(both):
  names, _, tensors = both
  deeper = tensors | {'model.visual.transformer.resblocks.2.gate1': np.float32(0)}
  with pytest.raises(
    UserError, match=r'missing: none; 1 are unexpected: .*s\.2\.gate1'
  ):
    take(names, deeper)


def test_a_long_list_is_cut(both):
  names, _, tensors = both
  with pytest.raises(UserError, match=r'missing: .* and \d+ more; 0 are unexpected'):
    take(names, {'temp': tensors['temp']})


def test_the_source_is_named_where_tensors_are_missing(both):
  with pytest.raises(UserError, match=r'\d+ tensors in here\.npz; \d+ are mis'):
    take(both[0], {}, source_name='here.npz')


def test_halves_become_f32_without_loss(both):
  names, _, tensors = both
  halves = {name: np.asarray(tensor, np.float16) for name, tensor in tensors.items()}
  for name, leaf in take(names, halves):
    assert leaf.dtype == np.float32, name
  exact = {name: np.asarray(half, np.float32) for name, half in halves.items()}
  jax.tree.map(
    np.testing.assert_array_equal, dict(take(names, halves)), dict(take(names, exact))
  )


def test_layers_of_mixed_precision_keep_the_higher(both):
  names, leaves, tensors = both
  first = 'model.visual.transformer.resblocks.0.mlp.c_fc.weight'
  mixed = tensors | {first: np.asarray(tensors[first], np.float16)}
  path = 'image/transformer/blocks/mlp/up/kernel'
  leaf = dict(take(names, mixed))[path]
  np.testing.assert_array_equal(leaf[1], leaves[path][1])


@pytest.mark.parametrize('layout', sorted(LAYOUTS))
def test_no_tensor_is_asked_for_twice(make_clip, layout):
  family = LAYOUTS[layout].family
  clip = make_clip(image_layers=3, shared_adapter='both', family=family)
  paths = paths_of(jax.eval_shape(clip.init, jax.random.key(0)))
  if layout != 'harma':
    paths = [p for p in paths if 'adapter' not in p and 'block_gate' not in p]
    paths.remove('temperature')
  names = names_of(
    paths, layout=layout, image_layers=3, text_layers=2, shared_adapter='both'
  )
  wanted = [tensor for name in names for tensor in name.wanted]
  wanted += [alias for name in names for _, alias in name.aliased()]
  assert len(wanted) == len(set(wanted))


def test_layers_of_different_shapes_are_refused(both):
  names, _, tensors = both
  name = 'model.transformer.resblocks.1.mlp.c_fc.bias'
  with pytest.raises(
    UserError, match=r'one shape in all layers; found \(48,\), and \(47,\) in layer 1'
  ):
    dict(take(names, tensors | {name: tensors[name][:-1]}))


def test_a_path_without_a_name_is_refused():
  with pytest.raises(UserError, match='no entry for the parameter image/new'):
    names_of(['image/new'], layout='harma', image_layers=1, text_layers=1)


@pytest.fixture
def plain(make_clip, random_params):
  """Leaves of a model without adapters, and `names(layout)` of them."""
  leaves = paths_of(random_params(make_clip(adapter=None, shared_adapter='none')))
  del leaves['temperature']
  return leaves, lambda layout: names_of(
    leaves, layout=layout, image_layers=2, text_layers=2
  )


@pytest.mark.parametrize('layout', ['open_clip', 'huggingface'])
def test_plain_clip_keeps_every_bit_there_and_back(plain, layout):
  leaves, names = plain
  tensors = give(names(layout), leaves, patch=8)
  assert not [name for name in tensors if name.startswith('model.')]
  back = dict(take(names(layout), tensors))
  jax.tree.map(np.testing.assert_array_equal, back, dict(leaves))


def test_openclip_names_have_no_prefix(plain):
  leaves, names = plain
  assert {
    'visual.conv1.weight',
    'visual.class_embedding',
    'visual.positional_embedding',
    'visual.transformer.resblocks.0.attn.in_proj_weight',
    'visual.ln_pre.bias',
    'visual.ln_post.weight',
    'transformer.resblocks.1.mlp.c_proj.weight',
    'positional_embedding',
    'ln_final.bias',
    'logit_scale',
  } <= set(give(names('open_clip'), leaves, patch=8))


def test_hugging_face_has_three_matrices_where_openclip_has_one(plain):
  leaves, names = plain
  theirs = give(names('huggingface'), leaves, patch=8)
  fused = give(names('open_clip'), leaves, patch=8)
  for name in ('weight', 'bias'):
    attention = 'text_model.encoder.layers.1.self_attn'
    parts = [theirs[f'{attention}.{part}_proj.{name}'] for part in 'qkv']
    np.testing.assert_array_equal(
      np.concatenate(parts), fused[f'transformer.resblocks.1.attn.in_proj_{name}']
    )
  for ours, hf in (('visual.proj', 'visual_projection'), ('text_projection',) * 2):
    np.testing.assert_array_equal(fused[ours].T, theirs[f'{hf}.weight'])
