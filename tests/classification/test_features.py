"""Images of folders in batches, those that cannot be read named or left out."""

import numpy as np
import pytest
from PIL import Image

from harma_jax.classification.features import encode_folders
from harma_jax.classification.folders import find_classes
from harma_jax.data.tracking import untracked
from harma_jax.errors import UserError


@pytest.fixture
def folder(tmp_path):
  """Three images for one class, two for another, of one grey each."""
  for number in range(5):
    path = tmp_path / ('Roads' if number < 3 else 'Woods') / f'{number}.png'
    path.parent.mkdir(exist_ok=True)
    Image.new('RGB', (20, 30), (number,) * 3).save(path)
  return tmp_path


def brightness(pixels):
  return np.stack([image.mean(axis=(0, 1)) for image in pixels]).astype(np.float32)


def encode(folder, *, skip=False, encoders=None, track=untracked):
  return encode_folders(
    encoders or {'model': brightness},
    find_classes(folder),
    side=8,
    batch_size=2,
    skip=skip,
    track=track,
  )


def test_all_models_see_each_image_once_in_the_order_of_the_folders(folder):
  sizes, passed = [], []

  def twice(pixels):
    sizes.append(len(pixels))
    assert pixels[0].shape == (8, 8, 3)
    return 2 * brightness(pixels)

  def track(items, *, title, total):
    passed.append((title, total))
    return items

  found = encode(folder, encoders={'before': twice, 'model': brightness}, track=track)
  np.testing.assert_array_equal(found.features['model'][:, 0], range(5))
  np.testing.assert_array_equal(found.features['before'][:, 0], range(0, 10, 2))
  assert found.labels.tolist() == [0, 0, 0, 1, 1]
  assert sizes == [2, 2, 1]
  assert passed == [('images', 5)]


def test_an_unreadable_image_is_named_or_skipped(folder, caplog):
  (folder / 'Roads/1.png').write_bytes(b'no image')
  with pytest.raises(UserError, match=r'1\.png: .*--on_bad_image=skip'):
    encode(folder)
  found = encode(folder, skip=True)
  assert list(found.skipped) == [str(folder / 'Roads/1.png')]
  assert found.labels.tolist() == [0, 0, 1, 1]
  assert found.features['model'][:, 0].tolist() == [0, 2, 3, 4]
  assert 'Skipped 1 images' in caplog.text


def test_a_class_without_a_readable_image_is_refused(folder):
  for path in (folder / 'Woods').iterdir():
    path.write_bytes(b'no image')
  with pytest.raises(
    UserError, match=r'found none in Woods\. The first there: .*3\.png'
  ):
    encode(folder, skip=True)
