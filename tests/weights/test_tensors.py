"""Files of tensors, told by their first bytes; damaged and hostile ones are refused."""

import json
import pickle
import re
import struct
import sys

import ml_dtypes
import numpy as np
import pytest

from harma_jax.errors import UserError
from harma_jax.weights.tensors import open_tensors, read_npz

TENSORS = {
  'a.weight': np.arange(6, dtype=np.float32).reshape(2, 3),
  'b': np.float32(2.5),
}


class Touch:
  """Touches a file when it is unpickled."""

  def __init__(self, path):
    self.path = str(path)

  def __reduce__(self):
    return open, (self.path, 'w')


class CommentedMap(dict):
  """As the loader of a YAML file may return."""


def assert_same(tensors, expected):
  assert list(tensors) == list(expected)
  for name, array in expected.items():
    np.testing.assert_array_equal(np.asarray(tensors[name]), array, err_msg=name)


@pytest.mark.parametrize('name', ['x.npz', 'x.safetensors'])
@pytest.mark.parametrize('renamed', ['x.npz', 'x.safetensors', 'weights', 'x.pt'])
def test_the_name_of_a_file_does_not_matter(tmp_path, write, name, renamed):
  write(tmp_path / name, TENSORS)
  (tmp_path / name).rename(tmp_path / renamed)
  tensors, is_script = open_tensors(tmp_path / renamed)
  assert not is_script
  assert_same(tensors, TENSORS)


def test_bfloat16_of_safetensors_is_read(tmp_path, write):
  halves = {'a': np.asarray([1.5, -2.25, 3e30], ml_dtypes.bfloat16)}
  tensors, _ = open_tensors(tmp_path / write(tmp_path / 'x.safetensors', halves))
  assert tensors['a'].dtype == ml_dtypes.bfloat16
  assert_same(tensors, halves)


@pytest.mark.parametrize('name', ['x.npz', 'x.safetensors', 'x.pt'])
@pytest.mark.parametrize('content', [b'', b'not weights', b'PK\x03\x04 cut short'])
def test_unreadable_files_are_the_users_mistake(tmp_path, name, content):
  path = tmp_path / name
  path.write_bytes(content)
  with pytest.raises(
    UserError, match=f'expected readable weights.* {re.escape(str(path))}'
  ):
    open_tensors(path)


@pytest.mark.parametrize('name', ['x.npz', 'x.safetensors'])
def test_a_truncated_file_is_the_users_mistake(tmp_path, write, name):
  path = tmp_path / name
  write(path, TENSORS)
  path.write_bytes(path.read_bytes()[:-8])
  with pytest.raises(UserError, match=r'is damaged: .*\. Fetch the file again'):
    open_tensors(path)


def test_a_single_array_is_no_npz(tmp_path):
  with (tmp_path / 'one.npz').open('wb') as file:
    np.save(file, np.zeros(3))
  with pytest.raises(UserError, match='readable'):
    read_npz(tmp_path / 'one.npz')


def test_pickled_objects_are_not_loaded(tmp_path):
  np.savez(tmp_path / 'objects.npz', weights=np.array([{}]))
  with pytest.raises(UserError, match='allow_pickle'):
    read_npz(tmp_path / 'objects.npz')


def test_without_torch_its_files_say_what_to_install(tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, 'torch', None)
  (tmp_path / 'x.pt').write_bytes(pickle.dumps({}, protocol=2))
  with pytest.raises(UserError, match=r"x\.pt.*pip install 'harma_jax\[torch\]'"):
    open_tensors(tmp_path / 'x.pt')


@pytest.fixture
def state(torch):
  return {name: torch.tensor(array) for name, array in TENSORS.items()}


WRAPPERS = {
  'state dict': lambda state: state,
  'openclip': lambda state: {'epoch': 3, 'name': 'run', 'state_dict': state},
  'harma': lambda state: {'model': state, 'config': {'lr': 4e-4, 'steps': [1, 'a']}},
}


@pytest.mark.parametrize('wrapper', WRAPPERS)
@pytest.mark.parametrize('is_zip', [True, False])
@pytest.mark.parametrize('name', ['x.bin', 'weights.npz'])
def test_state_dicts_are_found_in_what_is_around_them(
  tmp_path, torch, state, wrapper, is_zip, name
):
  path = tmp_path / name
  torch.save(WRAPPERS[wrapper](state), path, _use_new_zipfile_serialization=is_zip)
  tensors, is_script = open_tensors(path)
  assert not is_script
  assert_same(tensors, TENSORS)


@pytest.mark.parametrize('dtype', ['float16', 'bfloat16'])
def test_halves_of_torch_become_f32(tmp_path, torch, dtype):
  halves = torch.tensor([1.5, -2.25, 3.0]).to(getattr(torch, dtype))
  torch.save({'a': halves}, tmp_path / 'x.pt')
  tensors, _ = open_tensors(tmp_path / 'x.pt')
  assert tensors['a'].dtype == np.float32
  np.testing.assert_array_equal(tensors['a'], [1.5, -2.25, 3.0])


def test_parameters_are_tensors(tmp_path, torch):
  torch.save({'a': torch.nn.Parameter(torch.ones(2))}, tmp_path / 'x.pt')
  np.testing.assert_array_equal(open_tensors(tmp_path / 'x.pt')[0]['a'], [1, 1])


@pytest.mark.parametrize('content', [[1], {'a': 1}, {'model': {'a': 'text'}}])
def test_what_is_no_state_dict_is_refused(tmp_path, torch, content):
  torch.save(content, tmp_path / 'x.pt')
  with pytest.raises(UserError, match=r'expected a state dict.* in .*x\.pt; found'):
    open_tensors(tmp_path / 'x.pt')


@pytest.mark.parametrize('is_zip', [True, False])
@pytest.mark.parametrize('wrap', [lambda evil: evil, lambda evil: {'model': evil}])
def test_a_file_that_runs_code_is_refused_and_not_run(tmp_path, torch, is_zip, wrap):
  path, touched = tmp_path / 'x.pt', tmp_path / 'touched'
  torch.save(wrap(Touch(touched)), path, _use_new_zipfile_serialization=is_zip)
  with pytest.raises(UserError, match=r'x\.pt holds \S+open, which could run code'):
    open_tensors(path)
  assert not touched.exists()
  torch.load(path, weights_only=False)
  assert touched.exists()  # so it would have


@pytest.mark.parametrize('protocol', [0, 2, 4])
def test_a_bare_pickle_that_runs_code_is_refused_and_not_run(tmp_path, torch, protocol):
  path, touched = tmp_path / 'x.pt', tmp_path / 'touched'
  path.write_bytes(pickle.dumps(Touch(touched), protocol=protocol))
  with pytest.raises(UserError, match=r'init: expected .*x\.pt'):
    open_tensors(path)
  assert not touched.exists()
  pickle.loads(path.read_bytes())
  assert touched.exists()


def test_a_config_of_another_class_says_what_to_do(tmp_path, torch, state):
  config = CommentedMap(lr=4e-4)
  torch.save({'model': state, 'config': config}, tmp_path / 'x.pth')
  message = r"CommentedMap, which .*refused.*weights_only=False\).*get\('model', state"
  with pytest.raises(UserError, match=message) as caught:
    open_tensors(tmp_path / 'x.pth')
  assert '\n' not in str(caught.value)


@pytest.mark.parametrize('is_zip', [True, False])
@pytest.mark.parametrize('kept', [40, -30])
def test_a_truncated_file_of_torch_is_the_users_mistake(
  tmp_path, torch, state, is_zip, kept
):
  path = tmp_path / 'x.pt'
  torch.save(state, path, _use_new_zipfile_serialization=is_zip)
  path.write_bytes(path.read_bytes()[:kept])
  with pytest.raises(UserError, match=r'x\.pt') as caught:
    open_tensors(path)
  assert '\n' not in str(caught.value)


def test_the_header_of_safetensors_is_not_believed(tmp_path):
  path = tmp_path / 'x.safetensors'
  path.write_bytes(struct.pack('<Q', 2**40) + b'{"a": 1}')
  with pytest.raises(UserError, match='is damaged'):
    open_tensors(path)


@pytest.mark.parametrize('dtype', ['F8_E4M3', 'F8_E5M2', 'I8', 'U8'])
def test_numbers_of_8_bits_are_one_message(tmp_path, dtype):
  header = {'scale': {'dtype': dtype, 'shape': [3], 'data_offsets': [0, 3]}}
  header = json.dumps(header).encode()
  path = tmp_path / 'small.safetensors'
  path.write_bytes(struct.pack('<Q', len(header)) + header + b'abc')
  tensors, _ = open_tensors(path)
  with pytest.raises(UserError, match=rf'f32 or f64; scale in .* has {dtype}'):
    tensors['scale']


@pytest.mark.parametrize('dtype', ['float8_e4m3fn', 'int8'])
def test_so_are_they_in_files_of_torch(tmp_path, torch, dtype):
  tensor = torch.zeros(3).to(getattr(torch, dtype))
  torch.save({'scale': tensor}, tmp_path / 'small.pt')
  tensors, _ = open_tensors(tmp_path / 'small.pt')
  with pytest.raises(UserError, match=rf'scale in .* has torch.{dtype}'):
    tensors['scale']


def test_shards_of_torch_are_one_file(tmp_path, torch):
  places = {}
  for number, (name, array) in enumerate(TENSORS.items()):
    file = f'pytorch_model-{number}.bin'
    torch.save({name: torch.tensor(array)}, tmp_path / file)
    places[name] = file
  index = tmp_path / 'pytorch_model.bin.index.json'
  index.write_text(json.dumps({'weight_map': places}))
  assert_same(open_tensors(index)[0], TENSORS)
  (tmp_path / 'pytorch_model-1.bin').unlink()
  with pytest.raises(UserError, match=r'all shards of .*pytorch_model-1.bin are not'):
    open_tensors(index)
