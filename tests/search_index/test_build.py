"""Making an index with a stand-in for the model: its features are mean colours."""

import os

import numpy as np
import pytest
from PIL import Image

from harma_jax.errors import UserError
from harma_jax.search_index import build as module
from harma_jax.search_index.build import build_index
from harma_jax.search_index.catalogue import read_catalogue
from harma_jax.search_index.index import open_index
from harma_jax.search_index.page import page_of
from harma_jax.search_index.query import search
from harma_jax.search_index.shards import shard_path


def mean_color(images):
  """f32[n, 3], unit rows."""
  colors = images.reshape(len(images), -1, 3).mean(axis=1, dtype=np.float32) + 1
  return colors / np.linalg.norm(colors, axis=1, keepdims=True)


@pytest.fixture
def pictures(tmp_path):
  """Seven images of 24 x 16 pixels, each of one colour, and a broken one."""
  folder = tmp_path / 'pictures'
  folder.mkdir()
  for i in range(7):
    Image.new('RGB', (24, 16), (30 * i, 200 - 20 * i, 90)).save(folder / f'{i}.png')
  (folder / '3_broken.png').write_bytes(b'none')
  return folder


@pytest.fixture
def build(pictures, tmp_path, monkeypatch):
  """`build(**changes)`: what was done; a shard for each file."""
  monkeypatch.setattr(module, 'SECONDS_A_SHARD', 0)

  def make(*, images=pictures, **changes):
    settings = {
      'encode': mean_color,
      'model': {'model_sha256': 'ab' * 32, 'model_path': 'run'},
      'preprocessing': {'side': 4},
      'batch_size': 2,
      'threads': 2,
    }
    return build_index(images, tmp_path / 'index', **(settings | changes))

  return make


@pytest.fixture
def read(monkeypatch):
  """Names of the files that have been read since."""
  names, reading = [], module.read_rows

  def note(paths, **settings):
    names.extend(path.name for path in paths)
    return reading(paths, **settings)

  monkeypatch.setattr(module, 'read_rows', note)
  return names


def draw(path, color):
  Image.new('RGB', (24, 16), color).save(path)


def counts(made):
  return made.added, made.changed, made.dropped, made.unchanged, len(made.skipped)


def check(index, pictures):
  """That an index holds the features of the pixels that the folder holds now."""
  for row, file in enumerate(index.file):
    with Image.open(pictures / index.names[file]) as image:
      pixels = np.asarray(image.resize((4, 4)))[None]
    np.testing.assert_allclose(index.features[row], mean_color(pixels)[0], atol=1e-6)


def test_each_image_has_the_features_of_its_pixels(build, pictures, tmp_path):
  made = build()
  index = open_index(tmp_path / 'index')
  assert list(made.skipped) == list(index.skipped) == ['3_broken.png']
  assert (counts(made), len(index)) == ((7, 0, 0, 0, 1), 7)
  check(index, pictures)
  assert index.boxes.tolist() == [[0, 0, 24, 16]] * 7
  assert index.missing == 0


def test_tiles_cover_each_image_and_say_where_they_are(build, tmp_path):
  build(tiles=[(16, 8)])
  index = open_index(tmp_path / 'index')
  assert len(index) == 7 * 2
  assert index.boxes[:2].tolist() == [[0, 0, 16, 16], [8, 0, 16, 16]]
  assert {index.names[file] for file in index.file} == {f'{i}.png' for i in range(7)}


def test_several_scales_are_in_one_index_and_equal_boxes_once(build, tmp_path):
  build(tiles=[(8, 8), (16, 16), (64, 64), (0, 0)])
  boxes = open_index(tmp_path / 'index').boxes
  assert [tuple(box[2:]) for box in boxes[:9].tolist()] == (
    [(8, 8)] * 6 + [(16, 16)] * 2 + [(24, 16)]
  )
  assert len(boxes) == 7 * 9


def test_features_are_in_the_order_of_rows_whatever_the_shapes(
  build, pictures, tmp_path
):
  shapes = []

  def encode(images):
    shapes.append(images.shape[1:3])
    return mean_color(images)

  settings = {'tiles': [(6, 6), (16, 16), (0, 0)], 'as_cut': (6, 16)}
  build(encode=encode, batch_size=5, **settings)
  assert {*shapes} == {(6, 6), (16, 16), (4, 4)}
  index = open_index(tmp_path / 'index')
  assert len(index) == 7 * (12 + 2 + 1)
  check(index, pictures)  # each picture has a colour of its own


def test_the_same_again_reads_only_what_failed(build, read, tmp_path):
  build()
  whole = open_index(tmp_path / 'index').features
  read.clear()
  assert counts(build()) == (0, 0, 0, 7, 1)
  assert read == ['3_broken.png']
  np.testing.assert_array_equal(open_index(tmp_path / 'index').features, whole)


def test_an_archive_that_lives_is_followed(build, read, pictures, tmp_path):
  build()
  read.clear()
  draw(pictures / '3_broken.png', (1, 200, 3))  # is complete by now
  draw(pictures / '1.png', (200, 3, 7))
  draw(pictures / 'new.png', (9, 9, 200))
  (pictures / '5.png').unlink()
  assert counts(build()) == (2, 1, 1, 5, 0)
  assert sorted(read) == ['1.png', '3_broken.png', 'new.png']
  index = open_index(tmp_path / 'index')
  assert sorted(index.names[i] for i in index.file) == sorted(
    path.name for path in pictures.iterdir()
  )
  check(index, pictures)


def test_content_is_compared_where_that_is_asked_for(build, read, pictures, tmp_path):
  build(verify=True)
  read.clear()
  path = pictures / '1.png'
  before, content = path.stat(), path.read_bytes()
  path.write_bytes(content[:-20] + bytes([content[-20] ^ 1]) + content[-19:])
  os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
  os.utime(pictures / '2.png')
  made = build()  # the first has its old size and time, the second its old content
  assert counts(made) == (0, 0, 0, 7, 1)
  made = build(verify=True)
  assert counts(made)[:3] == (0, 0, 0)
  assert sorted(made.skipped) == ['1.png', '3_broken.png']  # damaged by that byte
  assert set(read) == {'1.png', '3_broken.png'}


def test_a_file_that_is_written_while_it_is_read_is_read_again(
  build, pictures, tmp_path, monkeypatch
):
  reading = module.read_rows

  def read_while_it_grows(paths, **settings):
    for found in reading(paths, **settings):
      if found[0] == 2:
        draw(pictures / '2.png', (7, 7, 7))
      yield found

  with monkeypatch.context() as patch:
    patch.setattr(module, 'read_rows', read_while_it_grows)
    made = build()
  assert 'changed while it was read' in made.skipped['2.png']
  assert counts(build()) == (1, 0, 0, 6, 1)
  check(open_index(tmp_path / 'index'), pictures)


def test_what_was_stopped_goes_on_without_doing_it_again(build, tmp_path):
  def known():
    return sorted(read_catalogue(tmp_path / 'index').files)

  def stop(images):
    if len(known()) >= 3:
      raise KeyboardInterrupt
    return mean_color(images)

  with pytest.raises(KeyboardInterrupt):
    build(encode=stop)
  assert known() == ['0.png', '1.png', '2.png']
  assert open_index(tmp_path / 'index').missing == 5
  assert counts(build()) == (4, 0, 0, 3, 1)
  assert len(open_index(tmp_path / 'index')) == 7


def test_rows_of_a_shard_that_is_gone_are_made_again(build, pictures, tmp_path):
  build()
  lost = open_index(tmp_path / 'index').files['4.png'].shard
  shard_path(tmp_path / 'index', lost).unlink()
  assert build().changed >= 1
  check(open_index(tmp_path / 'index'), pictures)


def test_machines_share_the_work_and_each_file_is_done_once(build, read, tmp_path):
  first = build(share=(1, 2))
  index = open_index(tmp_path / 'index')
  assert index.missing == 8 - first.added - len(first.skipped)
  second = build(share=(0, 2))
  assert len(read) == 8
  assert (first.added + second.added, len(open_index(tmp_path / 'index'))) == (7, 7)
  assert counts(build(share=(2, 3)))[:3] == (0, 0, 0)
  with pytest.raises(UserError, match=r'--share: expected .*; found 2/2'):
    build(share=(2, 2))


def test_a_share_drops_only_what_is_its_own(build, pictures, tmp_path):
  build()
  for path in pictures.iterdir():
    if path.name != '6.png':
      path.unlink()
  dropped = [build(share=(i, 2)).dropped for i in (0, 1)]
  assert sum(dropped) == 7
  assert open_index(tmp_path / 'index').names == ['6.png']


def test_two_programs_do_not_change_an_index_at_once(build, tmp_path):
  def meanwhile(images):
    with pytest.raises(UserError, match='that no other program changes'):
      build()
    with pytest.raises(UserError, match='share the work: --share=I/N'):
      build(share=(0, 2))
    return mean_color(images)

  build(encode=meanwhile)


def test_progress_counts_every_file_once(build):
  seen = []

  def track(items, *, title, total):
    number = 0
    for item in items:
      number += 1
      yield item
    seen.append((number, total))

  build(track=track)
  assert seen == [(8, 8)]


def test_images_that_all_fail_make_no_index(build, pictures, tmp_path):
  for path in pictures.iterdir():
    path.write_bytes(b'none')
  assert len(build().skipped) == 8
  with pytest.raises(UserError, match='8 of 8 were skipped'):
    open_index(tmp_path / 'index')


@pytest.mark.parametrize('tile', [0, 16])
def test_a_page_shows_each_hit_and_needs_no_network(build, tmp_path, tile):
  build(tiles=[(tile, tile)])
  index = open_index(tmp_path / 'index')
  hits = search(index, index.features[0], top=3)
  page = page_of(hits, index, text='ships & <piers>')
  assert page.count('data:image/jpeg;base64,') == 3
  assert 'ships &amp; &lt;piers&gt;' in page
  assert 'src="http' not in page
  assert ('16 x 16 px' in page) == bool(tile)


def test_a_picture_that_is_gone_is_left_blank(build, pictures, tmp_path):
  build()
  index = open_index(tmp_path / 'index')
  (pictures / '0.png').unlink()
  hits = search(index, index.features[0], top=2)
  page = page_of(hits, index, image=str(pictures / '1.png'))
  assert page.count('data:image/jpeg;base64,') == 2
  assert 'src="data:," alt="0.png"' in page
