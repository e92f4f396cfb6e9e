"""Files of the original's results, and files that are none."""

import numpy as np
import pytest

from harma_jax.errors import UserError
from harma_jax.reference.file import is_quantity, read_reference


@pytest.mark.parametrize('content', [b'', b'not an archive', None])
def test_a_file_that_is_no_npz_is_the_users_mistake(tmp_path, content):
  path = tmp_path / 'reference.npz'
  if content is not None:
    path.write_bytes(content)
  with pytest.raises(UserError, match=r'readable \.npz file; found .*reference\.npz'):
    read_reference(path)


@pytest.mark.parametrize(
  'keys',
  [
    ['weights/temp'],
    ['inputs/images_nchw', 'inputs/tokens', 'inputs/image_ids', 'outputs/x'],
    ['meta', 'inputs/tokens', 'outputs/x'],
    ['meta', 'inputs/images_nchw', 'inputs/tokens', 'inputs/image_ids'],
  ],
  ids=['other arrays', 'no meta', 'no images', 'nothing to compare'],
)
def test_a_file_of_other_arrays_is_the_users_mistake(tmp_path, keys):
  np.savez(tmp_path / 'other.npz', **{key: np.zeros(1) for key in keys})
  with pytest.raises(UserError, match='Expected the keys meta, inputs/images_nchw'):
    read_reference(tmp_path / 'other.npz')


@pytest.mark.parametrize(
  ('name', 'computed'),
  [
    ('meta', False),
    ('inputs/tokens', False),
    ('weights/temp', False),
    ('losses/ties/image_ids', False),
    ('losses/ties/plain_triplet_sum', True),
    ('outputs/image_features', True),
  ],
)
def test_quantities_are_what_the_original_computed(name, computed):
  assert is_quantity(name) == computed
