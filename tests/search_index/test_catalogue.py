"""The log of what is known of files: the last word counts, whole at any moment."""

import pytest

from harma_jax.errors import UserError
from harma_jax.search_index import catalogue as module
from harma_jax.search_index.catalogue import (
  File,
  condense,
  read_catalogue,
  write_entry,
)


def file(n, **changes):
  return File(size=n, mtime_ns=n, **changes)


def test_the_last_word_on_a_file_counts(tmp_path):
  write_entry(tmp_path, {'b': file(1), 'a': file(1), 'c': file(1)}, found=4)
  write_entry(tmp_path, {'b': file(2), 'c': None}, found=3)
  catalogue = read_catalogue(tmp_path)
  assert catalogue.files == {'a': file(1), 'b': file(2)}
  assert list(catalogue.files) == ['a', 'b']
  assert (catalogue.found, catalogue.missing) == (3, 1)


def test_all_that_is_known_comes_back(tmp_path):
  files = {
    'a': file(1, sha256='ab', shard='s', start=3, rows=2, facts={'bands': [3, 2, 1]}),
    'b': file(2, facts={'bands': [3, 2, 1]}, dropped={'no data': 4}),
    'c\udcff': file(3, error='no picture'),
  }
  write_entry(tmp_path, files, found=3)
  assert read_catalogue(tmp_path).files == files


def test_condensed_it_says_the_same_in_one_entry(tmp_path):
  for n in range(5):
    write_entry(tmp_path, {'a': file(n), str(n): file(n), str(n - 1): None}, found=n)
  before = read_catalogue(tmp_path)
  condense(tmp_path, before)
  after = read_catalogue(tmp_path)
  assert (after.files, after.found) == (before.files, before.found)
  assert len(after.entries) == 1


def test_condensing_that_was_stopped_before_the_old_was_removed_is_no_harm(tmp_path):
  write_entry(tmp_path, {'a': file(1), 'b': file(1)}, found=2)
  write_entry(tmp_path, {'a': None, 'b': file(2)}, found=1, whole=True)
  assert read_catalogue(tmp_path).files == {'b': file(2)}


def test_an_entry_that_vanishes_meanwhile_is_no_harm(tmp_path, monkeypatch):
  write_entry(tmp_path, {'a': file(1)}, found=1)
  first = read_catalogue(tmp_path)
  write_entry(tmp_path, {'a': file(2)}, found=1)
  listed, real = [], module._names

  def list_old_names_once(folder):
    listed.append(folder)
    return [*first.entries, 'gone.json'] if len(listed) == 1 else real(folder)

  monkeypatch.setattr(module, '_names', list_old_names_once)
  assert read_catalogue(tmp_path).files == {'a': file(2)}


def test_a_damaged_entry_is_named(tmp_path):
  name = write_entry(tmp_path, {'a': file(1)}, found=1)
  (tmp_path / 'catalogue' / name).write_text('{"files": ')
  with pytest.raises(UserError, match=f'{name} is damaged'):
    read_catalogue(tmp_path)
