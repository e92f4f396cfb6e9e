"""Weights of other programs put into ours: strictly, of any precision and side."""

import logging

import jax
import ml_dtypes
import numpy as np
import pytest
from flax import traverse_util

from harma_jax.errors import UserError
from harma_jax.model.sizes import SIZES
from harma_jax.weights.load import (
  graft,
  has_adapters,
  interpolate_positions,
  is_new,
  load_weights,
)
from harma_jax.weights.names import paths_of
from harma_jax.weights.recognise import check_settings, recognise
from harma_jax.weights.sources import Source, open_source

LAYOUTS = ('open_clip', 'huggingface')


@pytest.fixture(scope='module')
def clip(make_clip):
  return make_clip(shared_adapter='text')


@pytest.fixture(scope='module')
def fresh(clip, random_params):
  """What weights are loaded into."""
  return random_params(clip, seed=1)


@pytest.fixture(scope='module')
def given(clip, random_params):
  """What a file holds."""
  return random_params(clip, seed=2)


@pytest.fixture(scope='module')
def harma(clip, given, tensors_of):
  return tensors_of(clip, given, 'harma')


@pytest.fixture(scope='module')
def plain(clip, given, tensors_of):
  """The tensors without adapters, by layout."""
  return {layout: tensors_of(clip, given, layout) for layout in LAYOUTS}


def source_of(tensors, *, kind='harma', **settings):
  """A source of tensors that no file holds."""
  return Source(
    path='here', format=kind, tensors=tensors, settings=settings, told_by='its config'
  )


def assert_equal_trees(one, other):
  jax.tree.map(np.testing.assert_array_equal, one, other)


@pytest.mark.parametrize('suffix', ['.npz', '.safetensors'])
def test_a_harma_file_gives_every_parameter(
  tmp_path, write, clip, fresh, given, harma, suffix
):
  source = open_source(write(tmp_path / f'weights{suffix}', harma))
  assert_equal_trees(load_weights(source, fresh, model=clip), given)


@pytest.mark.parametrize('suffix', ['.npz', '.safetensors'])
@pytest.mark.parametrize('layout', LAYOUTS)
def test_a_plain_file_leaves_adapters_and_temperature(
  tmp_path, write, clip, fresh, given, plain, suffix, layout
):
  source = open_source(write(tmp_path / f'weights{suffix}', plain[layout]))
  assert source.format == layout
  loaded = paths_of(load_weights(source, fresh, model=clip))
  assert set(loaded) == set(paths_of(fresh))
  for path, leaf in loaded.items():
    ours = is_new(path) or path == 'temperature'
    expected = paths_of(fresh if ours else given)[path]
    np.testing.assert_array_equal(leaf, expected, err_msg=path)


def test_what_a_file_has_may_be_shapes(clip, fresh, given, plain):
  shapes = {
    path: leaf
    if is_new(path) or path == 'temperature'
    else jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)
    for path, leaf in paths_of(fresh).items()
  }
  source = source_of(plain['open_clip'], kind='open_clip')
  tree = traverse_util.unflatten_dict(shapes, sep='/')
  loaded = load_weights(source, tree, model=clip)
  assert_equal_trees(loaded['text']['projection'], given['text']['projection'])
  assert_equal_trees(loaded['shared_adapter'], fresh['shared_adapter'])


def test_harma_names_without_adapters_leave_them_fresh(clip, fresh, given, harma):
  full = {name: tensor for name, tensor in harma.items() if 'mmadapter' not in name}
  full = {name: t for name, t in full.items() if not name.endswith('.gate1')}
  source = source_of(full)
  assert not has_adapters(source)
  loaded = load_weights(source, fresh, model=clip)
  assert_equal_trees(loaded['shared_adapter'], fresh['shared_adapter'])
  assert_equal_trees(loaded['temperature'], given['temperature'])
  assert_equal_trees(loaded['image']['projection'], given['image']['projection'])


@pytest.mark.parametrize('dtype', [np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize('layout', LAYOUTS)
def test_half_precision_files_become_f32(
  tmp_path, write, clip, fresh, plain, dtype, layout
):
  halves = {name: np.asarray(t, dtype) for name, t in plain[layout].items()}
  exact = {name: np.asarray(half, np.float32) for name, half in halves.items()}
  path = write(tmp_path / 'w.safetensors', halves)
  loaded = load_weights(open_source(path), fresh, model=clip)
  assert {leaf.dtype for leaf in jax.tree.leaves(loaded)} == {np.dtype(np.float32)}
  assert_equal_trees(
    loaded, load_weights(source_of(exact, kind=layout), fresh, model=clip)
  )


@pytest.mark.parametrize('here', ['none', 'padding'])
@pytest.mark.parametrize('told', [{}, {'adapter_padding': 'padding'}])
def test_adapters_that_saw_other_padding_are_warned_of(
  make_clip, fresh, harma, caplog, here, told
):
  model = make_clip(shared_adapter='text', adapter_padding=here)
  load_weights(source_of(harma, **told), fresh, model=model)
  trained = told.get('adapter_padding', 'none')
  assert (f'adapter_padding={trained} to keep' in caplog.text) == (trained != here)


def test_fresh_adapters_are_not_warned_of(make_clip, fresh, plain, caplog):
  model = make_clip(shared_adapter='text', adapter_padding='padding')
  load_weights(source_of(plain['open_clip'], kind='open_clip'), fresh, model=model)
  assert not caplog.records


def test_weights_of_a_deeper_model_are_refused(
  make_clip, random_params, tensors_of, fresh, clip
):
  deep = make_clip(text_layers=3)
  source = source_of(tensors_of(deep, random_params(deep), 'harma'))
  message = r'tensors in here; 0 are missing: none; 31 are unexpected: '
  message += r'model\.transformer\.resblocks\.2'
  with pytest.raises(UserError, match=message):
    load_weights(source, fresh, model=clip)


def test_weights_of_a_shallower_model_are_refused(make_clip, harma):
  deep = make_clip(image_layers=3)
  shapes = jax.eval_shape(deep.init, jax.random.key(0))
  with pytest.raises(UserError, match=r'missing: model\.visual\.trans.*resblocks\.2'):
    load_weights(source_of(harma), shapes, model=deep)


def test_adapters_are_not_dropped_in_silence(make_clip, random_params, harma):
  plain = make_clip(adapter=None, shared_adapter='none')
  with pytest.raises(UserError, match=r'unexpected: .*mmadapter.*adapters included'):
    load_weights(source_of(harma), random_params(plain), model=plain)


@pytest.mark.parametrize('layout', LAYOUTS)
def test_each_missing_or_unexpected_tensor_is_refused(clip, fresh, plain, layout):
  source = plain[layout]
  for name in source:
    fewer = {other: tensor for other, tensor in source.items() if other != name}
    with pytest.raises(UserError, match=f'1 are missing: {name}; 0 are unexpected'):
      load_weights(source_of(fewer, kind=layout), fresh, model=clip)
  more = source | {'logit_bias': np.float32(0)}
  with pytest.raises(UserError, match=r'none; 1 are unexpected: logit_bias\.'):
    load_weights(source_of(more, kind=layout), fresh, model=clip)


def test_weights_of_another_width_are_refused(clip, fresh, plain):
  name = 'token_embedding.weight'
  narrow = plain['open_clip'] | {name: plain['open_clip'][name][:-1]}
  message = r'in here; .*shape: text/token_embedding \(49, 12\) instead of \(50, 12\)'
  with pytest.raises(UserError, match=message):
    load_weights(source_of(narrow, kind='open_clip'), fresh, model=clip)


def test_positions_that_form_no_square_are_refused(clip, fresh, plain):
  name = 'visual.positional_embedding'
  oblong = plain['open_clip'] | {name: plain['open_clip'][name][:-1]}
  message = r'shape: image/position_embedding \(4, 16\) instead of \(5, 16\)'
  with pytest.raises(UserError, match=message):
    load_weights(source_of(oblong, kind='open_clip'), fresh, model=clip)


def test_positions_of_another_side_are_interpolated_and_it_is_said(
  make_clip, plain, caplog, random_params
):
  clip = make_clip(adapter=None, shared_adapter='none')
  large = make_clip(adapter=None, shared_adapter='none', size=sized(clip, 32))
  source = source_of(plain['open_clip'], kind='open_clip')
  with caplog.at_level(logging.INFO):
    loaded = load_weights(source, random_params(large), model=large)
  assert 'interpolating the positions of 4 patches to 16' in caplog.text
  table = loaded['image']['position_embedding']
  np.testing.assert_array_equal(
    table,
    interpolate_positions(
      plain['open_clip']['visual.positional_embedding'], positions=17
    ),
  )


def sized(clip, side):
  return clip.size.__class__(**vars(clip.size) | {'image_size': side})


def cubic(x, *, a=-0.5):
  """Keys' kernel, `a` as Pillow and torch take it where they smooth."""
  x = abs(x)
  if x < 1:
    return (a + 2) * x**3 - (a + 3) * x**2 + 1
  return a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a if x < 2 else 0.0


def resizing(old, new):
  """f64[new, old]: what each new row takes of each old one, pixel centres at halves."""
  scale = max(old / new, 1)
  centres = (np.arange(new) + 0.5) * old / new
  weights = [
    [cubic((i + 0.5 - centre) / scale) for i in range(old)] for centre in centres
  ]
  return np.array(weights) / np.sum(weights, axis=1, keepdims=True)


@pytest.mark.parametrize(('old', 'new'), [(2, 5), (7, 9), (7, 7), (9, 4), (24, 16)])
def test_interpolation_is_bicubic_with_antialiasing(old, new):
  table = np.random.default_rng(0).normal(size=(1 + old * old, 3)).astype(np.float32)
  grid = table[1:].reshape(old, old, 3)
  expected = np.einsum('yi,xj,ijc->yxc', *[resizing(old, new)] * 2, grid)
  found = interpolate_positions(table, positions=1 + new * new)
  np.testing.assert_array_equal(found[0], table[0])
  np.testing.assert_allclose(found[1:], expected.reshape(-1, 3), atol=1e-5)


@pytest.fixture
def sizes(monkeypatch, clip, make_clip):
  """The table of sizes with toys of both activations."""
  monkeypatch.setitem(SIZES, 'toy', clip.size)
  quick = make_clip(activation='quick_gelu').size
  monkeypatch.setitem(SIZES, 'toy-quickgelu', quick)


@pytest.mark.parametrize('layout', LAYOUTS)
@pytest.mark.parametrize(
  ('activation', 'name'), [('gelu', 'toy'), ('quick_gelu', 'toy-quickgelu')]
)
def test_the_size_is_recognised(sizes, plain, layout, activation, name):
  source = source_of(plain[layout], kind=layout, activation=activation)
  assert recognise(source) == (name, 16)


def test_a_size_is_not_recognised_by_its_side(sizes, clip, plain, monkeypatch):
  monkeypatch.setitem(SIZES, 'toy-24', sized(clip, 24))
  name = 'visual.positional_embedding'
  for side, expected in ((16, 'toy'), (24, 'toy-24'), (32, 'toy')):
    table = np.zeros((1 + (side // 8) ** 2, 16))
    tensors = plain['open_clip'] | {name: table}
    source = source_of(tensors, kind='open_clip', activation='gelu')
    assert recognise(source) == (expected, side)


def test_an_activation_that_nothing_tells_must_be_given(sizes, plain, harma):
  for kind, tensors in {**plain, 'harma': harma}.items():
    with pytest.raises(UserError) as caught:
      recognise(source_of(tensors, kind=kind))
    message = str(caught.value)
    assert '--config.model.size=toy for gelu (most OpenCLIP models: LAION' in message
    assert '--config.model.size=toy-quickgelu for quick_gelu (OpenAI' in message
    assert 'GeoRSCLIP' in message


@pytest.mark.parametrize('settings', [{'image_heads': 4}, {'text_heads': 2}])
def test_other_heads_are_told_by_the_config(sizes, clip, plain, settings):
  tensors = plain['open_clip']
  source = source_of(tensors, kind='open_clip', activation='gelu', **settings)
  ((name, heads),) = settings.items()
  told = name.replace('_', '.')
  assert recognise(source) == (f'toy,{told}={heads}', 16)
  with pytest.raises(UserError, match=r'expected \w+_heads=\d, as its config tells'):
    check_settings(source, clip.size)


def test_no_known_size_is_the_users_mistake(plain):
  source = source_of(plain['open_clip'], kind='open_clip', activation='gelu')
  with pytest.raises(UserError, match=r'one of ViT-B-32, .*image_width=16, .* in here'):
    recognise(source)


def test_a_clip_without_a_vision_transformer_is_refused(plain):
  tensors = plain['open_clip'] | {'visual.positional_embedding': np.zeros(3)}
  source = source_of(tensors, kind='open_clip', activation='gelu')
  with pytest.raises(
    UserError, match=r'positional_embedding of 2 axes, in here; found'
  ):
    recognise(source)


def test_another_activation_than_the_configs_is_refused(clip, plain):
  quick = source_of(plain['open_clip'], kind='open_clip', activation='quick_gelu')
  message = (
    'expected activation=quick_gelu, as its config .*a size with activation=gelu'
  )
  with pytest.raises(UserError, match=message):
    check_settings(quick, clip.size)
  check_settings(source_of({}), clip.size)
  check_settings(source_of({}, activation='gelu', image_heads=2), clip.size)


def test_graft_keeps_dtypes_and_replaces_all(fresh, given):
  doubled = jax.tree.map(lambda leaf: np.float64(leaf), given)
  grafted = graft(fresh, doubled, source_name='here')
  assert_equal_trees(grafted, given)
  assert {leaf.dtype for leaf in jax.tree.leaves(grafted)} == {np.dtype(np.float32)}


def without(tree, *paths):
  flat = paths_of(tree)
  return traverse_util.unflatten_dict(
    {path: leaf for path, leaf in flat.items() if path not in paths}, sep='/'
  )


def test_graft_may_lack_the_temperature(fresh, given):
  grafted = graft(fresh, without(given, 'temperature'), source_name='here')
  assert_equal_trees(grafted, {**given, 'temperature': fresh['temperature']})


def test_graft_may_lack_all_adapters_but_not_some(fresh, given):
  adapters = [path for path in paths_of(given) if is_new(path)]
  plain = graft(fresh, without(given, *adapters), source_name='here')
  assert_equal_trees(plain['shared_adapter'], fresh['shared_adapter'])
  with pytest.raises(UserError, match='missing: shared_adapter/shared_gate; unexp'):
    graft(fresh, without(given, 'shared_adapter/shared_gate'), source_name='here')


def test_graft_lists_all_that_does_not_fit(fresh, given):
  wrong = without(given, 'image/projection', 'text/projection')
  wrong['image']['extra'] = np.zeros(3)
  wrong['text']['token_embedding'] = np.zeros((49, 12))
  with pytest.raises(UserError) as caught:
    graft(fresh, wrong, source_name='run/7')
  assert str(caught.value) == (
    'Expected weights of the model that the config describes in run/7; '
    'missing: image/projection, text/projection; unexpected: image/extra; '
    'of another shape: text/token_embedding (49, 12) instead of (50, 12). '
    'Set model.* as the weights were made.'
  )
