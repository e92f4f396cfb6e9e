"""Headers of images: those of files each time, those of a prepared folder once."""

import shutil

import numpy as np
import pytest

from harma_jax.data import headers
from harma_jax.data.annotations import load_captions
from harma_jax.data.bad_images import without_images
from harma_jax.data.headers import kept_file, read_headers
from harma_jax.data.images import MAX_PIXELS, read_header
from harma_jax.data.prepared import read_prepared
from harma_jax.errors import UserError


@pytest.fixture
def prepared(prepared_data, tmp_path):
  """A table of 12 images of a prepared folder that nobody has trained on."""
  root = shutil.copytree(prepared_data, tmp_path / 'prepared')
  for path in root.glob('headers-*'):
    path.unlink()
  return read_prepared(root, split='train')


@pytest.fixture
def was_read(monkeypatch):
  """The names of the images whose headers were read."""
  names = []

  def noted(path, **settings):
    names.append(path.name)
    return read_header(path, **settings)

  monkeypatch.setattr(headers, 'read_header', noted)
  return names


def read(table, max_pixels=MAX_PIXELS):
  return read_headers(table, max_pixels=max_pixels, threads=2).tolist()


def one_by_one(table):
  found = (read_header(table.image_path(row)) for row in range(table.n_images))
  return [[*each.size, each.bits] for each in found]


def test_they_are_those_of_the_files(small_data, prepared):
  table = load_captions(small_data, split='train')
  assert read(table) == one_by_one(table) == read(prepared)


def test_a_prepared_folder_is_read_once(prepared, was_read):
  first = read(prepared)
  assert sorted(was_read) == sorted(prepared.image_files)
  was_read.clear()
  assert read(prepared) == first
  assert was_read == []


def test_of_some_images_the_others_are_read_later(prepared, was_read):
  read(without_images(prepared, [0, 5]))
  was_read.clear()
  assert read(prepared) == one_by_one(prepared)
  assert sorted(was_read) == sorted(prepared.image_files[row] for row in (0, 5))


def test_what_is_kept_is_of_one_split_and_of_one_manifest(prepared, was_read):
  root = prepared.image_root.root
  read(prepared)
  was_read.clear()
  val = read_prepared(root, split='val')
  assert read(val) == one_by_one(val)
  (root / 'manifest.json').write_text((root / 'manifest.json').read_text() + ' ')
  read(prepared)
  assert set(was_read) == {*val.image_files, *prepared.image_files}


@pytest.mark.parametrize('content', [b'', b'\x93NUMPY', b'none'])
def test_a_damaged_file_is_written_anew(prepared, was_read, content):
  expected = read(prepared)
  path = kept_file(prepared.image_root)
  path.write_bytes(content)
  was_read.clear()
  assert read(prepared) == expected
  assert len(was_read) == 12
  np.testing.assert_array_equal(np.load(path), expected)


def test_a_folder_that_cannot_be_written_is_read_each_time(
  prepared, was_read, monkeypatch
):
  def refuse(*_):
    raise PermissionError('read-only')

  monkeypatch.setattr(headers.os, 'replace', refuse)
  assert read(prepared) == read(prepared) == one_by_one(prepared)
  assert len(was_read) == 24


def test_what_is_too_large_now_is_told_though_it_is_known(prepared):
  read(prepared)
  with pytest.raises(UserError, match=r'more than max_pixels = 50'):
    read(prepared, max_pixels=50)
