"""TorchScript archives: their tensors without their code."""

import pickle
import zipfile

import numpy as np
import pytest

from harma_jax.errors import UserError
from harma_jax.weights.torchscript import open_torchscript


@pytest.fixture
def archive(tmp_path):
  """`archive(pickle, storages)`: an archive of these bytes."""

  def make(content, storages=None):
    path = tmp_path / 'model.pt'
    with zipfile.ZipFile(path, 'w') as file:
      file.writestr('model/data.pkl', content)
      file.writestr('model/constants.pkl', b'')
      for number, storage in (storages or {}).items():
        file.writestr(f'model/data/{number}', storage)
    return path

  return make


def tensor(*, offset=0, shape=(2, 3), strides=(3, 1), kind='FloatStorage'):
  """A module with one tensor `a`, as the bytes of its pickle (protocol 2)."""

  def number(value):
    return b'K' + bytes([value])

  def tuple_of(values):
    return b'(' + b''.join(map(number, values)) + b't'

  return b''.join(
    (
      b'\x80\x02c__torch__.some\nModule\n)\x81}X\x01\x00\x00\x00a',
      b'ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storage',
      b'ctorch\n' + kind.encode() + b'\n',
      b'X\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x06tQ',
      number(offset) + tuple_of(shape) + tuple_of(strides),
      b'\x89ccollections\nOrderedDict\n)RtRsb.',
    )
  )


FLOATS = np.arange(6, dtype='<f4')


def test_a_tensor_is_read_where_it_lies(archive):
  names, read = open_torchscript(archive(tensor(), {'0': FLOATS.tobytes()}))
  assert names == ['a']
  np.testing.assert_array_equal(read('a'), FLOATS.reshape(2, 3))


def test_offsets_and_strides_are_followed(archive):
  content = tensor(offset=1, shape=(2, 2), strides=(1, 2))
  _, read = open_torchscript(archive(content, {'0': FLOATS.tobytes()}))
  np.testing.assert_array_equal(read('a'), [[1, 3], [2, 4]])


@pytest.mark.parametrize(
  ('kind', 'dtype'),
  [('HalfStorage', 'float16'), ('BFloat16Storage', 'bfloat16'), ('LongStorage', 'i8')],
)
def test_storages_keep_their_type(archive, kind, dtype):
  values = np.arange(6).astype(dtype)
  _, read = open_torchscript(archive(tensor(kind=kind), {'0': values.tobytes()}))
  assert read('a').dtype == values.dtype
  np.testing.assert_array_equal(read('a'), values.reshape(2, 3))


@pytest.mark.parametrize(
  'changed', [{'shape': (3, 3)}, {'offset': 1}, {'strides': (9, 9)}]
)
def test_no_byte_beyond_a_storage_is_read(archive, changed):
  _, read = open_torchscript(archive(tensor(**changed), {'0': FLOATS.tobytes()}))
  with pytest.raises(UserError, match=r'model\.pt is damaged: a'):
    read('a')


class Touch:
  """Touches a file when it is unpickled."""

  def __init__(self, path):
    self.path = str(path)

  def __reduce__(self):
    return open, (self.path, 'w')


@pytest.mark.parametrize('protocol', [0, 2, 4])
def test_a_pickle_that_runs_code_is_refused_and_not_run(tmp_path, archive, protocol):
  content = pickle.dumps(Touch(tmp_path / 'touched'), protocol=protocol)
  with pytest.raises(
    UserError, match=r'model\.pt .*not run: \S+open\. Where you trust'
  ):
    open_torchscript(archive(content))
  assert not (tmp_path / 'touched').exists()
  pickle.loads(content)
  assert (tmp_path / 'touched').exists()  # so it would have


@pytest.mark.parametrize(
  'content', [b'', b'\x80\x02', tensor()[:-20], b'\x80\x02K\x01.']
)
def test_a_damaged_archive_is_the_users_mistake(archive, content):
  with pytest.raises(UserError, match=r'model\.pt .*not run: .*Where you trust'):
    open_torchscript(archive(content))


def test_a_missing_storage_is_the_users_mistake(archive):
  _, read = open_torchscript(archive(tensor()))
  with pytest.raises(UserError, match=r'model\.pt is damaged: a'):
    read('a')


def test_the_golden_archive_has_the_halves_of_its_model(golden_dir):
  names, read = open_torchscript(golden_dir / 'openai.pt')
  assert {'visual.conv1.weight', 'logit_scale'} < set(names)
  assert read('visual.conv1.weight').shape == (12, 3, 8, 8)
  assert read('visual.conv1.weight').dtype == np.float16


def test_names_and_values_are_those_of_torch(tmp_path, torch):
  class Nested(torch.nn.Module):
    def __init__(self):
      super().__init__()
      self.attention = torch.nn.MultiheadAttention(8, 2)
      self.blocks = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.LayerNorm(2))
      self.turned = torch.nn.Parameter(torch.randn(3, 4).t())
      self.register_buffer('context_length', torch.tensor(7))
      self.counts = [1, 2]

    def forward(self, x):
      return self.blocks(x)

  module = Nested().half()
  torch.jit.save(torch.jit.script(module), str(tmp_path / 'model.pt'))
  names, read = open_torchscript(tmp_path / 'model.pt')
  expected = module.state_dict()
  assert set(names) == set(expected)
  for name, value in expected.items():
    np.testing.assert_array_equal(read(name), value.numpy(), err_msg=name)


def test_a_module_that_writes_when_it_is_loaded_is_refused_and_not_run(tmp_path, torch):
  touched = str(tmp_path / 'touched')

  class Writes(torch.nn.Module):
    def __init__(self, path: str):
      super().__init__()
      self.w = torch.nn.Parameter(torch.zeros(2))
      self.path = path

    def forward(self, x):
      return x

    @torch.jit.export
    def __getstate__(self):
      return self.w, self.path, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[torch.Tensor, str, bool]):
      self.w, self.path, self.training = state
      torch.save(self.w, self.path)

  path = tmp_path / 'model.pt'
  torch.jit.save(torch.jit.script(Writes(touched)), str(path))
  with pytest.raises(UserError, match=r'model\.pt .*which is not run'):
    open_torchscript(path)
  assert not (tmp_path / 'touched').exists()
  torch.jit.load(str(path))
  assert (tmp_path / 'touched').exists()  # so it would have
