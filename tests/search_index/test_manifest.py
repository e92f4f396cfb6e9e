"""Going on with an index: the same settings by their names, in a folder of its own."""

import json

import pytest

from harma_jax.errors import UserError
from harma_jax.search_index.manifest import MANIFEST_FILE, read_manifest


def test_going_on_needs_the_same_settings_which_are_named(begin):
  begin()
  begin(path='elsewhere')  # is free to differ, where the weights are the same
  for changes, message in (
    ({'tile': 8}, '--stride was 0, now 8; --tile was 0, now 8'),
    ({'storage': 'int16'}, '--storage was float32, now int16'),
    (
      {'preprocessing': {'side': 16, 'bands': '4,3,2'}},
      '--bands was not given, now 4,3,2',
    ),
    (
      {'sha256': 'cd' * 32, 'path': 'other'},
      'elsewhere; found another, other',
    ),
  ):
    with pytest.raises(UserError, match=message):
      begin(**changes)
  with pytest.raises(UserError) as found:
    begin(sha256='cd' * 32, path='elsewhere')
  assert 'its weights have changed since' in str(found.value)
  assert 'cdcd' not in str(found.value)


def test_another_folder_of_images_is_refused_and_one_that_moved_is_not(begin, tmp_path):
  (tmp_path / 'pictures').mkdir()
  (tmp_path / 'others').mkdir()
  folder = begin()
  with pytest.raises(UserError, match=r'--images: expected .*pictures, whose index'):
    begin(images='others')
  (tmp_path / 'pictures').rmdir()
  begin(images='others')
  assert read_manifest(folder)['images'] == str((tmp_path / 'others').resolve())


def test_a_folder_in_other_use_is_left_alone(begin, tmp_path):
  (tmp_path / 'index').mkdir()
  (tmp_path / 'index/thesis.txt').write_text('years of work')
  with pytest.raises(UserError, match=r'found .* with thesis\.txt'):
    begin()
  assert not (tmp_path / 'index' / MANIFEST_FILE).exists()


def test_another_version_is_named(begin):
  path = begin() / MANIFEST_FILE
  path.write_text(json.dumps(json.loads(path.read_text()) | {'version': 9}))
  with pytest.raises(UserError, match=r'found .* version 9'):
    read_manifest(path.parent)
