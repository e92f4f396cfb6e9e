import jax
import numpy as np
import pytest
from flax import traverse_util

from harma_jax.errors import UserError
from harma_jax.weights.names import give, harma_names, openclip_names, paths_of, take


def names_of(clip, params):
  return harma_names(
    paths_of(params),
    image_layers=clip.size.image.layers,
    text_layers=clip.size.text.layers,
    shared_adapter=clip.shared_adapter,
  )


@pytest.fixture(scope='module')
def both(make_clip, random_params):
  """A model whose towers share adapters, its names, leaves and their tensors."""
  clip = make_clip(shared_adapter='both')
  leaves = paths_of(random_params(clip))
  names = names_of(clip, traverse_util.unflatten_dict(leaves, sep='/'))
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
  names, leaves = names_of(clip, params), paths_of(params)
  tensors = give(names, leaves, patch=8)
  back = take(names, tensors)
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
  tensors = give(names_of(clip, params), paths_of(params), patch=8)
  gates = np.asarray(params['shared_adapter']['shared_gate'])
  for tower, uses in (('visual.', image), ('', text)):
    for layer, use in enumerate(uses):
      block = f'model.{tower}transformer.resblocks.{layer}.mmadapter'
      assert tensors[f'{block}.BiShareAdapterxx.gate1'] == gates[use]


def test_text_only_sharing_has_no_names_in_the_image_tower(make_clip, random_params):
  clip = make_clip(shared_adapter='text')
  params = random_params(clip)
  tensors = give(names_of(clip, params), paths_of(params), patch=8)
  shared = [name for name in tensors if 'BiShareAdapterxx' in name]
  assert shared
  assert not [name for name in shared if 'visual' in name]


def test_an_altered_copy_of_a_shared_tensor_is_refused(both):
  names, _, tensors = both
  shared = 'transformer.resblocks.0.mmadapter.BiShareAdapterxx.l2.bias'
  for name in (f'model.{shared}', f'model.visual.{shared}'):
    altered = tensors | {name: tensors[name] + 1}
    with pytest.raises(UserError, match='to be one shared tensor; found different'):
      take(names, altered)


def test_a_missing_copy_of_a_shared_tensor_is_no_loss(both):
  names, leaves, tensors = both
  alias = next(alias for name in names for group in name.aliases for alias in group)
  kept = {name: tensor for name, tensor in tensors.items() if name != alias}
  jax.tree.map(np.testing.assert_array_equal, take(names, kept), dict(leaves))


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


def test_constants_beside_the_weights_are_ignored(both):
  names, leaves, tensors = both
  more = {'model.logit_scale': np.float32(4.6), 'attn_mask': np.zeros((7, 7))}
  assert set(take(names, tensors | more)) == set(leaves)


def test_layers_of_different_shapes_are_refused(both):
  names, _, tensors = both
  name = 'model.transformer.resblocks.1.mlp.c_fc.bias'
  with pytest.raises(
    UserError, match=r'one shape in all layers; found \(47,\), \(48,\)'
  ):
    take(names, tensors | {name: tensors[name][:-1]})


def test_a_path_without_a_name_is_refused():
  with pytest.raises(UserError, match='no entry for the parameter image/new'):
    harma_names(['image/new'], image_layers=1, text_layers=1, shared_adapter='none')


def test_openclip_names_have_no_prefix(make_clip, random_params):
  clip = make_clip(adapter=None, shared_adapter='none')
  leaves = paths_of(random_params(clip))
  del leaves['temperature']
  names = openclip_names(leaves, image_layers=2, text_layers=2)
  tensors = give(names, leaves, patch=8)
  assert not [name for name in tensors if name.startswith('model.')]
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
  } <= set(tensors)
  jax.tree.map(np.testing.assert_array_equal, take(names, tensors), dict(leaves))
