import re

import huggingface_hub
import jax
import numpy as np
import pytest
import safetensors.numpy
from flax import traverse_util
from huggingface_hub.errors import LocalEntryNotFoundError

from harma_jax.errors import UserError
from harma_jax.weights.load import (
  HUB_FILE,
  find_weights,
  graft,
  load_weights,
  read_npz,
  read_tensors,
)
from harma_jax.weights.names import give, harma_names, openclip_names, paths_of

LAYERS = {'image_layers': 2, 'text_layers': 2}


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
def harma(given):
  leaves = paths_of(given)
  names = harma_names(leaves, shared_adapter='text', **LAYERS)
  return tensors_of(names, leaves) | {'model.logit_scale': np.float32(4.6)}


@pytest.fixture(scope='module')
def openclip(given):
  leaves = {path: leaf for path, leaf in paths_of(given).items() if not is_new(path)}
  names = openclip_names(leaves, **LAYERS)
  return tensors_of(names, leaves) | {'logit_scale': np.float32(4.6)}


def tensors_of(names, leaves):
  tensors = give(names, leaves, patch=8)
  return {name: np.array(tensor, order='C') for name, tensor in tensors.items()}


def is_new(path):
  """Whether CLIP has no such parameter."""
  return 'adapter' in path or 'block_gate' in path or path == 'temperature'


def write(path, tensors):
  if path.suffix == '.npz':
    np.savez(path, **tensors)
  else:
    safetensors.numpy.save_file({k: np.asarray(v) for k, v in tensors.items()}, path)
  return str(path)


def assert_equal_trees(one, other):
  jax.tree.map(np.testing.assert_array_equal, one, other)


@pytest.mark.parametrize('suffix', ['.npz', '.safetensors'])
def test_a_harma_file_gives_every_parameter(
  tmp_path, clip, fresh, given, harma, suffix
):
  source = write(tmp_path / f'weights{suffix}', harma)
  assert_equal_trees(load_weights(source, fresh, model=clip), given)


@pytest.mark.parametrize('suffix', ['.npz', '.safetensors'])
def test_an_openclip_file_leaves_adapters_and_temperature(
  tmp_path, clip, fresh, given, openclip, suffix
):
  source = write(tmp_path / f'weights{suffix}', openclip)
  loaded = paths_of(load_weights(source, fresh, model=clip))
  for path, leaf in loaded.items():
    expected = paths_of(fresh if is_new(path) else given)[path]
    np.testing.assert_array_equal(leaf, expected, err_msg=path)


def test_half_precision_files_become_f32(tmp_path, clip, fresh, given, harma):
  halves = {name: np.asarray(tensor, np.float16) for name, tensor in harma.items()}
  loaded = load_weights(write(tmp_path / 'w.safetensors', halves), fresh, model=clip)
  for leaf, expected in zip(*map(jax.tree.leaves, (loaded, given)), strict=True):
    assert leaf.dtype == np.float32
    np.testing.assert_allclose(leaf, expected, rtol=1e-3, atol=1e-4)


def test_a_folder_with_a_hub_file_will_do(tmp_path, clip, fresh, given, harma):
  write(tmp_path / HUB_FILE, harma)
  assert_equal_trees(load_weights(str(tmp_path), fresh, model=clip), given)


def test_weights_of_a_deeper_model_are_refused(
  tmp_path, make_clip, random_params, fresh, clip
):
  deep = make_clip(text_layers=3)
  leaves = paths_of(random_params(deep))
  names = harma_names(leaves, image_layers=2, text_layers=3, shared_adapter='text')
  source = write(tmp_path / 'deep.npz', give(names, leaves, patch=8))
  with pytest.raises(UserError, match=r'unexpected: model\.transformer\.resblocks\.2'):
    load_weights(source, fresh, model=clip)


def test_weights_of_a_shallower_model_are_refused(tmp_path, make_clip, harma):
  deep = make_clip(image_layers=3)
  shapes = jax.eval_shape(deep.init, jax.random.key(0))
  source = write(tmp_path / 'shallow.npz', harma)
  with pytest.raises(UserError, match=r'missing: model\.visual\.trans.*resblocks\.2'):
    load_weights(source, shapes, model=deep)


def test_adapters_are_not_dropped_in_silence(tmp_path, make_clip, random_params, harma):
  plain = make_clip(adapter=None, shared_adapter='none')
  source = write(tmp_path / 'weights.npz', harma)
  with pytest.raises(UserError, match=r'unexpected: .*mmadapter.*adapters included'):
    load_weights(source, random_params(plain), model=plain)


def test_weights_of_another_width_are_refused(tmp_path, clip, fresh, openclip):
  name = 'visual.positional_embedding'
  narrow = openclip | {name: openclip[name][:-1]}
  source = write(tmp_path / 'weights.npz', narrow)
  message = r'shape: image/position_embedding \(4, 16\) instead of \(5, 16\)'
  with pytest.raises(UserError, match=message) as caught:
    load_weights(source, fresh, model=clip)
  assert source in str(caught.value)


def test_other_kinds_of_files_are_refused(tmp_path):
  path = tmp_path / 'weights.pt'
  path.touch()
  with pytest.raises(UserError, match=r'\.safetensors or \.npz; found .*weights\.pt'):
    read_tensors(path)


@pytest.mark.parametrize('suffix', ['.npz', '.safetensors'])
@pytest.mark.parametrize('content', [b'', b'not weights', b'PK\x03\x04 cut short'])
def test_unreadable_files_are_the_users_mistake(tmp_path, suffix, content):
  path = tmp_path / f'weights{suffix}'
  path.write_bytes(content)
  with pytest.raises(UserError, match=f'xpected .*readable .*{re.escape(str(path))}'):
    read_tensors(path)


@pytest.mark.parametrize('suffix', ['.npz', '.safetensors'])
def test_a_truncated_file_is_the_users_mistake(tmp_path, harma, suffix):
  path = tmp_path / f'weights{suffix}'
  write(path, harma)
  path.write_bytes(path.read_bytes()[:-100])
  with pytest.raises(UserError, match='readable'):
    read_tensors(path)


def test_a_single_array_is_no_npz(tmp_path):
  with (tmp_path / 'one.npz').open('wb') as file:
    np.save(file, np.zeros(3))
  with pytest.raises(UserError, match='readable'):
    read_npz(tmp_path / 'one.npz')


def test_pickled_objects_are_not_loaded(tmp_path):
  np.savez(tmp_path / 'objects.npz', weights=np.array([{}]))
  with pytest.raises(UserError, match='allow_pickle'):
    read_npz(tmp_path / 'objects.npz')


@pytest.mark.parametrize(
  'source', ['weights.npz', './owner/name', '/owner/name', 'a/b/c.safetensors']
)
def test_no_such_file_is_the_users_mistake(monkeypatch, tmp_path, source):
  monkeypatch.chdir(tmp_path)
  with pytest.raises(UserError, match=f'hub repository.*found {source!r}'):
    find_weights(source)


def test_a_folder_without_weights_is_the_users_mistake(tmp_path):
  with pytest.raises(UserError, match=HUB_FILE):
    find_weights(str(tmp_path))


def test_a_repository_of_the_hub_is_downloaded(monkeypatch, tmp_path):
  def download(repository, file):
    return str(tmp_path / repository / file)

  monkeypatch.setattr(huggingface_hub, 'hf_hub_download', download)
  assert find_weights('owner/name') == tmp_path / 'owner/name' / HUB_FILE


@pytest.mark.parametrize('error', [LocalEntryNotFoundError, OSError])
def test_a_hub_out_of_reach_says_what_to_do(monkeypatch, error):
  def download(repository, file):
    raise error('offline and not cached\nmore lines')

  monkeypatch.setattr(huggingface_hub, 'hf_hub_download', download)
  message = (
    r"'owner/name' .*: offline and not cached\. Download it .*--config\.init=FILE"
  )
  with pytest.raises(UserError, match=message) as caught:
    find_weights('owner/name')
  assert '\n' not in str(caught.value)


def test_a_hub_error_without_words_is_still_a_message(monkeypatch):
  def download(repository, file):
    raise OSError

  monkeypatch.setattr(huggingface_hub, 'hf_hub_download', download)
  with pytest.raises(UserError, match=r'found neither: OSError\. Download'):
    find_weights('owner/name')


def test_what_cannot_be_the_id_of_a_repository_is_refused():
  with pytest.raises(
    UserError, match=r"'owner/na me' as a path; found neither: Repo id"
  ):
    find_weights('owner/na me')


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
