"""Preparing TFDS folders: what lies in them, and what interruptions and damage do."""

import io
import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import ExifTags, Image

from harma_jax.data.annotations import fingerprint, load_captions
from harma_jax.data.builders import captions as captions_builder
from harma_jax.data.builders.captions import Captions
from harma_jax.data.builders.encode import encode_image_file
from harma_jax.data.builders.manifest import departures, verify
from harma_jax.data.builders.prepare import prepare
from harma_jax.data.images import read_image
from harma_jax.data.prepared import read_prepared
from harma_jax.data.reading import Reading
from harma_jax.data.source import find_splits
from harma_jax.errors import UserError

SPLITS = ('train', 'val', 'test')


def saved(path, *, mode='RGB', **options):
  pixels = np.random.default_rng(0).integers(0, 256, (12, 18, 3), np.uint8)
  Image.fromarray(pixels).convert(mode).save(path, **options)
  return path


def contents(folder):
  """What a prepared folder holds; the bytes of shards need not be the same twice.

  Another test may have read one, which keeps what headers say.
  """
  names = {path.name for path in folder.iterdir()}
  names -= {path.name for path in folder.glob('headers-*.npy')}
  splits = {split: read_prepared(folder, split=split) for split in SPLITS}
  return names, {
    split: (
      fingerprint(table),
      [table.image_path(row).read_bytes() for row in range(table.n_images)],
    )
    for split, table in splits.items()
  }


def file_bytes(folder):
  return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize('name', ['a.png', 'a.jpg'])
def test_jpeg_and_png_are_kept_byte_for_byte(tmp_path, name):
  path = saved(tmp_path / name)
  assert encode_image_file(path) == path.read_bytes()


@pytest.mark.parametrize(
  ('name', 'mode'),
  [
    *(('a.tif', mode) for mode in ('RGB', 'CMYK', 'I;16')),
    *(('a.png', mode) for mode in ('L', 'P', 'RGBA', 'I;16')),
    *(('a.jpg', mode) for mode in ('L', 'CMYK')),
  ],
)
def test_others_become_png_of_the_same_pixels(tmp_path, name, mode):
  path = saved(tmp_path / name, mode=mode)
  content = encode_image_file(path)
  image = Image.open(io.BytesIO(content))
  assert (image.format, image.mode) == ('PNG', 'RGB')
  np.testing.assert_array_equal(image, read_image(path))


@pytest.mark.parametrize('name', ['a.jpg', 'a.png'])
def test_images_that_are_to_be_turned_are_turned(tmp_path, name):
  exif = Image.Exif()
  exif[ExifTags.Base.Orientation] = 6
  path = saved(tmp_path / name, exif=exif)
  image = Image.open(io.BytesIO(encode_image_file(path)))
  assert (image.format, image.size) == ('PNG', (12, 18))
  assert image.getexif().get(ExifTags.Base.Orientation, 1) == 1
  np.testing.assert_array_equal(image, read_image(path))


def test_damaged_images_are_named(tmp_path):
  path = saved(tmp_path / 'half.png')
  path.write_bytes(path.read_bytes()[:300])
  with pytest.raises(UserError, match=r'half\.png: expected a readable image'):
    encode_image_file(path)
  path.write_text('no pixels')
  with pytest.raises(
    UserError, match=r'half\.png: .* found: cannot identify image file'
  ):
    encode_image_file(path)
  with pytest.raises(
    UserError, match=r'no\.png: expected a readable image.*No such file'
  ):
    encode_image_file(tmp_path / 'no.png')


def test_tfds_reads_it_without_this_package(prepared_data):
  builder = tfds.builder_from_directory(os.fspath(prepared_data))
  source = builder.as_data_source('val')
  assert len(source) == 6
  assert source[2]['image_file'] == b'val_2.png'
  assert source[2]['image'].shape == (32, 32, 3)
  assert list(source[2]['captions']) == [
    b'val_2 shows fields',
    b'val_2 shows boats on a river',
  ]


def test_the_builder_works_as_any_of_tfds(small_data, tmp_path):
  builder = Captions(
    config='rsicd',
    source=small_data,
    splits=['val', 'test'],
    data_dir=tmp_path,
    file_format='array_record',
  )
  builder.download_and_prepare()
  assert (tmp_path / 'captions/rsicd/1.0.0/features.json').is_file()
  assert {name: len(builder.as_data_source(name)) for name in builder.info.splits} == {
    'val': 6,
    'test': 6,
  }


def test_captions_keep_their_order_though_they_lie_with_their_images(tmp_path):
  (tmp_path / 'images').mkdir()
  for name in 'ab':
    saved(tmp_path / f'images/{name}.png')
  rows = [('b', 'one'), ('a', 'zwei ü'), ('b', 'three')]
  text = ''.join(
    json.dumps({'image': f'{image}.png', 'caption': caption}) + '\n'
    for image, caption in rows
  )
  (tmp_path / 'train.jsonl').write_text(text)
  prepare(tmp_path, tmp_path / 'out', dataset='captions')
  table = read_prepared(tmp_path / 'out', split='train')
  assert table.image_files == ('b.png', 'a.png')
  assert table.captions == ('one', 'zwei ü', 'three')
  assert table.caption_image.tolist() == [0, 1, 0]


def test_an_interrupted_prepare_goes_on_after_the_finished_splits(
  small_data, prepared_data, tmp_path, monkeypatch
):
  encoded = []

  def encode(path, *, until='', **how):
    if pathlib.Path(path).name == until:
      raise KeyboardInterrupt
    encoded.append(pathlib.Path(path).name)
    return encode_image_file(path, **how)

  monkeypatch.setattr(
    captions_builder,
    'encode_image_file',
    lambda path, **how: encode(path, until='val_3.png', **how),
  )
  with pytest.raises(KeyboardInterrupt):
    prepare(small_data, tmp_path / 'out', dataset='captions')
  with pytest.raises(UserError, match='expected a prepared folder'):
    read_prepared(tmp_path / 'out', split='train')
  encoded.clear()
  monkeypatch.setattr(captions_builder, 'encode_image_file', encode)
  prepare(small_data, tmp_path / 'out', dataset='captions')
  assert encoded == [f'{split}_{i}.png' for split in ('val', 'test') for i in range(6)]
  assert contents(tmp_path / 'out') == contents(prepared_data)


@pytest.mark.parametrize('at', [1, 2, 3, 4])
def test_a_prepare_that_stops_while_files_are_moved_goes_on(
  small_data, prepared_data, tmp_path, monkeypatch, at
):
  moves = []
  replace = os.replace

  def stop_at(source, target):
    moves.append(target)
    if len(moves) == at:
      raise KeyboardInterrupt
    replace(source, target)

  monkeypatch.setattr('harma_jax.data.builders.prepare.os.replace', stop_at)
  with pytest.raises(KeyboardInterrupt):
    prepare(small_data, tmp_path / 'out', dataset='captions')
  prepare(small_data, tmp_path / 'out', dataset='captions')
  assert contents(tmp_path / 'out') == contents(prepared_data)


def test_a_split_whose_captions_have_changed_is_not_gone_on_with(
  write_data, tmp_path, monkeypatch
):
  source, out = write_data(tmp_path / 'source'), tmp_path / 'out'
  with monkeypatch.context() as patch:
    patch.setattr('harma_jax.data.builders.prepare._join', lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
      prepare(source, out, dataset='captions')
  path = source / 'captions.jsonl'
  path.write_text(path.read_text().replace('train_5 shows', 'train_5 has'))
  prepare(source, out, dataset='captions')
  assert 'train_5 has fields' in read_prepared(out, split='train').captions


def test_a_finished_folder_is_verified_and_not_written(
  small_data, prepared_data, monkeypatch
):
  monkeypatch.setattr(captions_builder, 'encode_image_file', lambda *_, **__: 1 / 0)
  before = file_bytes(prepared_data)
  prepare(small_data, prepared_data, dataset='captions')
  assert file_bytes(prepared_data) == before


@pytest.mark.parametrize('damage', ['a bit', 'an end', 'all'])
def test_a_damaged_shard_is_named(small_data, tmp_path, damage):
  out = tmp_path / 'out'
  prepare(small_data, out, dataset='captions')
  shard = out / 'captions-val.array_record-00000-of-00001'
  content = bytearray(shard.read_bytes())
  content[1000] ^= 1
  if damage == 'all':
    shard.unlink()
  else:
    shard.write_bytes(content if damage == 'a bit' else content[:-1000])
  with pytest.raises(UserError, match=rf'{shard.name}: expected .*damaged'):
    prepare(small_data, out, dataset='captions')


def test_counts_are_verified_beside_the_checksums(small_data, tmp_path):
  prepare(small_data, tmp_path, dataset='captions')
  path = tmp_path / 'manifest.json'
  manifest = json.loads(path.read_text())
  manifest['splits']['val']['captions'] += 1
  path.write_text(json.dumps(manifest))
  with pytest.raises(UserError, match=r"split 'val' to hold images 6, captions 13"):
    verify(tmp_path)


def test_a_folder_of_another_source_or_in_other_use_is_refused(
  prepared_data, small_data
):
  with pytest.raises(UserError, match='found dataset captions'):
    prepare(small_data, prepared_data, dataset='rsicd')
  with pytest.raises(UserError, match=r'found test: images 6'):
    prepare(small_data, prepared_data, dataset='captions', splits=['train', 'val'])
  with pytest.raises(
    UserError, match=r'expected a new folder.*captions\.jsonl, images'
  ):
    prepare(small_data, small_data, dataset='captions')
  with pytest.raises(UserError, match='expected a folder that can be written'):
    prepare(small_data, small_data / 'captions.jsonl', dataset='captions')


def test_contents_do_not_depend_on_threads(small_data, prepared_data, tmp_path):
  prepare(small_data, tmp_path / 'out', dataset='captions', threads=5)
  assert contents(tmp_path / 'out') == contents(prepared_data)


def test_a_prepared_folder_is_no_source(prepared_data, tmp_path):
  with pytest.raises(UserError, match=r'expected a source.*found .* prepare wrote'):
    prepare(prepared_data, tmp_path / 'out', dataset='captions')


def test_departures_from_the_published_counts():
  def counts(**images):
    return {name: {'images': n, 'captions': 5 * n} for name, n in images.items()}

  assert departures(counts(train=8734, val=1094, test=1093), dataset='rsicd') == []
  assert departures(counts(train=4291, test=452), dataset='rsitmd') == []
  assert departures(counts(train=3435, val=856, test=452), dataset='rsitmd') == []
  assert departures(counts(train=1), dataset='captions') == []
  (found,) = departures(counts(train=8734, val=1094), dataset='rsicd')
  assert found.startswith('rsicd: expected 1,093 images of test, as published; found 0')
  short = counts(train=4291, test=452)
  short['test']['captions'] -= 1
  (found,) = departures(short, dataset='rsitmd')
  assert 'expected 2,260 captions of test' in found
  assert 'found 2,259' in found


def test_departures_are_warned_of(small_data, tmp_path, caplog):
  prepare(small_data, tmp_path / 'out', dataset='rsitmd')
  assert 'expected 4,291 images of train and val' in caplog.text


def karpathy(*splits):
  image = {'filename': 'a.png', 'sentences': [{'raw': 'a field'}]}
  return json.dumps({'images': [image | {'split': split} for split in splits]})


@pytest.mark.parametrize(
  ('files', 'found'),
  [
    ({'x_train.json': '[{}]', 'x_test.json': '[{}]'}, ['train', 'test']),
    (
      {'dataset_x.json': karpathy('test', 'restval', 'train')},
      ['train', 'test'],
    ),
    ({'captions.jsonl': '{}'}, ['train']),
    ({'captions_val.csv': 'image,caption\na,b'}, ['val']),
  ],
)
def test_splits_are_found(tmp_path, files, found):
  for name, text in files.items():
    (tmp_path / name).write_text(text)
  assert list(find_splits(tmp_path)) == found


def test_restval_may_stay_a_split_of_its_own(tmp_path):
  (tmp_path / 'dataset_x.json').write_text(karpathy('test', 'restval', 'train'))
  apart = Reading(restval=False)
  assert list(find_splits(tmp_path, reading=apart)) == ['train', 'test', 'restval']


def test_splits_are_found_in_named_files(tmp_path):
  for split in ('train', 'extra'):
    (tmp_path / f'{split}_captions.json').write_text('[{}]')
  named = '{split}_captions.json'
  assert list(find_splits(tmp_path, annotations=named)) == ['train']
  found = find_splits(tmp_path, annotations=named, asked=['extra'])
  assert found == {
    'train': tmp_path / 'train_captions.json',
    'extra': tmp_path / 'extra_captions.json',
  }


def test_no_split_is_a_mistake(tmp_path):
  with pytest.raises(UserError, match=r"annotations of split 'train'.*found: nothing"):
    find_splits(tmp_path)


def test_names_that_tfds_cannot_take_are_refused(tmp_path):
  (tmp_path / 'images').mkdir()
  saved(tmp_path / 'images/a.png')
  (tmp_path / 'dataset.json').write_text(karpathy('train', 'held-out'))
  with pytest.raises(UserError, match=r"letters, digits and _.*found 'held-out'"):
    prepare(tmp_path, tmp_path / 'out', dataset='captions')


def test_tensorflow_is_not_imported(small_data, tmp_path):
  program = (
    'import sys\n'
    'from harma_jax.data.builders.prepare import prepare\n'
    'from harma_jax.data.prepared import read_prepared\n'
    'prepare(sys.argv[1], sys.argv[2], dataset="captions")\n'
    'table = read_prepared(sys.argv[2], split="val")\n'
    'assert table.image_path(0).read_bytes()\n'
    'print("tensorflow" in sys.modules)\n'
  )
  command = [sys.executable, '-c', program, small_data, tmp_path / 'out']
  done = subprocess.run(command, check=True, capture_output=True, text=True)
  assert done.stdout == 'False\n'


def test_real_tif_images_keep_their_pixels(data_dir, tmp_path):
  source = data_dir / 'rsitmd_sample'
  prepare(source, tmp_path, dataset='rsitmd', splits=['val'], threads=2)
  read, table = read_prepared(tmp_path, split='val'), load_captions(source, split='val')
  assert fingerprint(read) == fingerprint(table)
  assert table.image_files[0].endswith('.tif')
  for row in range(0, table.n_images, 5):
    np.testing.assert_array_equal(
      read_image(read.image_path(row)), read_image(table.image_path(row))
    )
