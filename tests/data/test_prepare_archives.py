"""Preparing archives: what lies in the folder, stops, processes, and mistakes."""

import functools
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds

from harma_jax.data.annotations import fingerprint
from harma_jax.data.builders import archives as builder
from harma_jax.data.builders.archives import prepare_archives
from harma_jax.data.builders.records import record_of
from harma_jax.data.builders.shard_writer import Writing, write_shard
from harma_jax.data.prepared import captions_file, read_prepared
from harma_jax.data.tracking import untracked
from harma_jax.errors import UserError

SHARDS, EACH = 4, 3


@pytest.fixture
def source(archives, tmp_path):
  """Four shards of three pictures each, one of them to validate."""
  folder = tmp_path / 'source'
  folder.mkdir()
  for number in range(SHARDS):
    split = 'val' if number == 2 else 'train'
    rows = range(number * EACH, (number + 1) * EACH)
    archives['tar'](folder / f'{split}-{number}.tar', archives['img2dataset'](rows))
  return folder


def prepared(source, out, *, writing=None, **options):
  given = {'dataset': 'captions', 'writing': writing or Writing()} | options
  return prepare_archives(str(source), out, **given)


def file_bytes(folder):
  return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_table_and_the_pictures_are_those_of_the_shards(source, archives, tmp_path):
  manifest = prepared(source, tmp_path / 'out')
  table = read_prepared(tmp_path / 'out', split='train')
  numbers = [0, 1, 2, 3, 4, 5, 9, 10, 11]
  assert table.captions == [f'fields and houses {number}' for number in numbers]
  assert table.image_files == [
    f'train-{number // EACH}/{number:09}.jpg' for number in numbers
  ]
  np.testing.assert_array_equal(table.caption_image, np.arange(9))
  contents = [table.image_path(row).read_bytes() for row in range(9)]
  assert contents == [archives['picture'](number) for number in numbers]
  assert manifest['splits']['train'] == {
    'images': 9,
    'captions': 9,
    'fingerprint': fingerprint(table),
  }
  assert list(manifest['splits']) == ['train', 'val']


def test_it_is_read_without_the_file_of_captions_too(source, tmp_path):
  out = tmp_path / 'out'
  prepared(source, out)
  expected = read_prepared(out, split='train')
  (out / captions_file('train')).unlink()
  found = read_prepared(out, split='train')
  assert fingerprint(found) == fingerprint(expected)
  assert [found.image_path(row).read_bytes() for row in range(9)] == [
    expected.image_path(row).read_bytes() for row in range(9)
  ]


def test_tfds_reads_it_without_this_package(source, tmp_path):
  prepared(source, tmp_path / 'out')
  data = tfds.builder_from_directory(str(tmp_path / 'out')).as_data_source('train')
  assert len(data) == 9
  assert data[3]['image_file'] == b'train-1/000000003.jpg'
  assert data[3]['image'].shape == (24, 24, 3)
  assert list(data[8]['captions']) == [b'fields and houses 11']
  assert list(data[3]['caption_rows']) == [2**32]


def test_a_record_is_what_tfds_writes_of_it():
  row = {'image': b'x', 'image_file': 'a/ü.jpg', 'captions': ['b', 'c']}
  features = tfds.features.FeaturesDict(
    {
      'image': tfds.features.Tensor(shape=(), dtype=np.object_),
      'image_file': tfds.features.Text(),
      'captions': tfds.features.Sequence(tfds.features.Text()),
      'caption_rows': tfds.features.Sequence(np.int64),
    }
  )
  found = features.deserialize_example_np(record_of(**row, rows=[2**40, 1]))
  assert found['image'] == b'x'
  assert found['image_file'].decode() == 'a/ü.jpg'
  assert list(found['captions']) == [b'b', b'c']
  assert list(found['caption_rows']) == [2**40, 1]


class StoppedError(Exception):
  """What stands for a kill."""


@pytest.mark.parametrize('done', [0, 1, 3])
def test_a_stop_after_any_shard_ends_in_the_same_bytes(
  source, tmp_path, monkeypatch, done
):
  prepared(source, tmp_path / 'one')
  out, written = tmp_path / 'out', []

  def write_some(shard, folder, *, number, writing):
    if number == done and done not in written:
      (folder.parent / f'{folder.name}.new').mkdir()  # a part of it is there
      written.append(number)
      raise StoppedError
    if not folder.exists():
      written.append(number)
    return write_shard(shard, folder, number=number, writing=writing)

  monkeypatch.setattr(builder, 'write_shard', write_some)
  with pytest.raises(StoppedError):
    prepared(source, out)
  assert not (out / 'manifest.json').exists()
  with pytest.raises(UserError, match='expected a prepared folder'):
    read_prepared(out, split='train')
  prepared(source, out)
  assert written == [*range(done), done, *range(done, SHARDS)]
  assert file_bytes(out) == file_bytes(tmp_path / 'one')


@pytest.mark.parametrize('moves', [0, 1, 3])
def test_a_stop_while_files_are_moved_ends_in_the_same_bytes(
  source, tmp_path, monkeypatch, moves
):
  prepared(source, tmp_path / 'one')
  out, left = tmp_path / 'out', [None] * moves
  move = builder._move

  def move_some(old, new):
    if not left:
      raise StoppedError
    left.pop()
    move(old, new)

  with monkeypatch.context() as patch:
    patch.setattr(builder, '_move', move_some)
    with pytest.raises(StoppedError):
      prepared(source, out)
  prepared(source, out)
  assert file_bytes(out) == file_bytes(tmp_path / 'one')


def test_two_processes_write_what_one_does(source, tmp_path):
  prepared(source, tmp_path / 'one')
  prepared(source, tmp_path / 'two', workers=2)
  assert file_bytes(tmp_path / 'two') == file_bytes(tmp_path / 'one')


def test_a_new_process_imports_no_more_than_it_needs():
  code = (
    'import sys\n'
    'from harma_jax.data.builders.shard_writer import write_shard\n'
    'from harma_jax.data.processes import ends_with_parent\n'
    'print(*{"jax", "tensorflow_datasets", "pyarrow", "grain"} & sys.modules.keys())'
  )
  assert subprocess.check_output([sys.executable, '-c', code], text=True) == '\n'


def test_a_mistake_in_another_process_is_one_message(source, archives, tmp_path):
  archives['tar'](source / 'train-1.tar', [('a.jpg', b'no picture'), ('a.txt', b'a')])
  with pytest.raises(UserError, match=r'train-1\.tar, a\.jpg: expected a readable im'):
    prepared(source, tmp_path / 'out', workers=2)
  assert not (tmp_path / 'out/manifest.json').exists()


def test_a_process_that_is_ended_is_one_message():
  writes = [functools.partial(os._exit, 9)] * 2
  with pytest.raises(UserError, match='--workers: expected 2 processes that live'):
    builder._write_all(writes, workers=2, track=untracked)


def test_a_finished_folder_is_verified_and_of_this_source(source, archives, tmp_path):
  out = tmp_path / 'out'
  first = prepared(source, out)
  assert prepared(source, out) == first
  with pytest.raises(UserError, match=r'another source: settings rest .train. and not'):
    prepared(source, out, writing=Writing(rest='test'))
  (shard,) = out.glob('*val*record*')
  whole = shard.read_bytes()
  shard.write_bytes(whole[:-1] + b'x')
  with pytest.raises(UserError, match=r'The file is damaged'):
    prepared(source, out)
  shard.write_bytes(whole)
  archives['tar'](source / 'val-2.tar', archives['img2dataset'](range(9)))
  with pytest.raises(
    UserError, match=r"shards \['val-2', \d+\] and not \['val-2', \d+\]"
  ):
    prepared(source, out)


def test_a_begun_folder_goes_on_with_the_same_source_only(
  source, archives, tmp_path, monkeypatch
):
  with monkeypatch.context() as patch:
    patch.setattr(builder, '_finish', lambda *_, **__: 1 / 0)
    for _ in range(2):
      with pytest.raises(ZeroDivisionError):
        prepared(source, tmp_path / 'out')
  archives['tar'](source / 'more.tar', archives['img2dataset'](range(2)))
  with pytest.raises(UserError, match='another source: shards 4 and not 5'):
    prepared(source, tmp_path / 'out')


def test_a_shard_that_broke_off_may_be_copied_anew(source, tmp_path):
  prepared(source, tmp_path / 'one')
  out, path = tmp_path / 'out', source / 'val-2.tar'
  whole = path.read_bytes()
  path.write_bytes(whole[:900])
  with pytest.raises(UserError, match='copy it anew'):
    prepared(source, out)
  path.write_bytes(whole)
  first = source / 'train-0.tar'
  other = first.read_bytes()
  first.write_bytes(other + bytes(512))
  with pytest.raises(UserError, match=r"shards \['train-0', \d+\] and not"):
    prepared(source, out)
  first.write_bytes(other)
  prepared(source, out)
  assert file_bytes(out) == file_bytes(tmp_path / 'one')


def test_flags_may_change_until_a_shard_is_done(source, archives, tmp_path):
  archives['tar'](source / 'train-0.tar', [('a.jpg', b''), ('a.txt', b'a')])
  with pytest.raises(UserError, match='=skip leaves'):
    prepared(source, tmp_path / 'out')
  changed = Writing(skips=True, rest='test')
  assert prepared(source, tmp_path / 'out', writing=changed)['skipped'] == 1


def test_bad_pictures_stop_it_or_are_counted_and_named(source, archives, tmp_path):
  half = archives['picture'](1, form='PNG')[:300]
  members = [('a.png', half), ('a.txt', b'a'), ('b.jpg', b''), ('b.txt', b'b')]
  archives['tar'](source / 'train-0.tar', [*members, ('c.txt', b'c')])
  with pytest.raises(UserError, match=r'a\.png: expected a readable.*=skip leaves'):
    prepared(source, tmp_path / 'out')
  out = tmp_path / 'skipping'
  manifest = prepared(source, out, writing=Writing(skips=True))
  assert manifest['skipped'] == 3
  lines = (out / 'skipped.txt').read_text().splitlines()
  assert [line.split(': ')[0] for line in lines] == [
    f'{source}/train-0.tar, {name}' for name in ('a.png', 'b.jpg', 'c.txt')
  ]
  assert manifest['splits']['train']['images'] == 2 * EACH


def test_threads_change_nothing(source, tmp_path):
  prepared(source, tmp_path / 'one')
  prepared(source, tmp_path / 'four', writing=Writing(threads=4))
  assert file_bytes(tmp_path / 'four') == file_bytes(tmp_path / 'one')


def test_unchecked_pictures_are_stored_as_they_are(source, archives, tmp_path):
  members = [('a.jpg', b'\xff\xd8\xff half'), ('a.txt', b'a')]
  tif = archives['picture'](1, form='TIFF')
  members += [('b.tif', tif), ('b.txt', b'b')]
  archives['tar'](source / 'train-0.tar', members)
  prepared(source, tmp_path / 'out', writing=Writing(checks=False))
  table = read_prepared(tmp_path / 'out', split='train')
  first, second = (table.image_path(row).read_bytes() for row in range(2))
  assert first == members[0][1]
  assert second.startswith(b'\x89PNG')


def test_splits_come_from_names_columns_or_the_flag(archives, tmp_path):
  source = tmp_path / 'source'
  source.mkdir()

  def members(split):
    fields = json.dumps({'caption': 'a', 'split': split}).encode()
    return [('1.jpg', archives['picture'](1)), ('1.json', fields)]

  archives['tar'](source / 'train-0.tar', members(' Validation'))
  archives['tar'](source / 'train-1.tar', members('restval'))
  archives['tar'](source / '2.tar', archives['img2dataset'](range(2)))
  manifest = prepared(source, tmp_path / 'out', writing=Writing(rest='test'))
  counts = {name: of['images'] for name, of in manifest['splits'].items()}
  assert counts == {'train': 1, 'val': 1, 'test': 2}
  asked = Writing(splits=('val',), rest='test')
  manifest = prepared(source, tmp_path / 'val', writing=asked)
  assert list(manifest['splits']) == ['val']
  words = r"found no 'dev', only test, train, val.*--rest=NAME"
  with pytest.raises(UserError, match=words):
    prepared(source, tmp_path / 'dev', writing=Writing(splits=('dev',), rest='test'))


@pytest.mark.parametrize('kind', ['zip', 'tar'])
def test_splits_come_from_folders_in_an_archive_that_names_none(
  archives, tmp_path, kind
):
  members = [
    (f'{folder}/{name}', content)
    for folder in ('Train/river', 'validation/river', 'test', 'test_site/river')
    for name, content in archives['img2dataset'](range(1))
  ]
  counts = {}
  for name in ('all', 'test'):
    source = archives[kind](tmp_path / f'{name}.{kind}', members)
    manifest = prepared(source, tmp_path / f'out-{name}')
    counts[name] = {split: of['images'] for split, of in manifest['splits'].items()}
  assert counts == {'all': {'train': 2, 'val': 1, 'test': 1}, 'test': {'test': 4}}


def test_a_begun_folder_goes_on_without_bad_pictures(source, archives, tmp_path):
  archives['tar'](source / 'train-3.tar', [('b.jpg', b''), ('b.txt', b'b')])
  out = tmp_path / 'out'
  with pytest.raises(UserError, match='=skip leaves such pictures out'):
    prepared(source, out)
  assert prepared(source, out, writing=Writing(skips=True))['skipped'] == 1
  with pytest.raises(UserError, match='settings skips True and not False'):
    prepared(source, out)


def test_a_folder_without_bad_pictures_serves_who_skips_them(source, tmp_path):
  first = prepared(source, tmp_path / 'out')
  assert prepared(source, tmp_path / 'out', writing=Writing(skips=True)) == first


def test_a_split_that_nobody_has_is_told_before_any_is_read(
  source, tmp_path, monkeypatch
):
  monkeypatch.setattr(builder, '_write_all', lambda *_, **__: 1 / 0)
  with pytest.raises(UserError, match=r"no 'test', only train, val"):
    prepared(source, tmp_path / 'out', writing=Writing(splits=('test',)))


def test_a_source_of_nothing_is_refused(archives, tmp_path):
  archives['tar'](tmp_path / 'a.tar', [('README.md', b'x')])
  with pytest.raises(UserError, match='expected pictures with captions; found none'):
    prepared(tmp_path / 'a.tar', tmp_path / 'out')
  assert not (tmp_path / 'out/manifest.json').exists()
