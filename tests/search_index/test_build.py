"""Making an index with a stand-in for the model: its features are mean colours."""

import numpy as np
import pytest
from PIL import Image

from harma_jax.errors import UserError
from harma_jax.search_index import build as module
from harma_jax.search_index import index as index_module
from harma_jax.search_index.build import build_index
from harma_jax.search_index.index import open_index, shard_path
from harma_jax.search_index.page import page_of
from harma_jax.search_index.query import search


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
  """`build(**changes)`: what was skipped; three files a shard."""
  monkeypatch.setattr(index_module, 'FILES_A_SHARD', 3)
  monkeypatch.setattr(index_module, 'SCENES_A_SHARD', 2)

  def make(**changes):
    settings = {
      'encode': mean_color,
      'model': {'model_sha256': 'ab' * 32, 'model_path': 'run'},
      'preprocessing': {'side': 4},
      'batch_size': 2,
      'threads': 2,
    }
    return build_index(pictures, tmp_path / 'index', **(settings | changes))

  return make


def test_each_image_has_the_features_of_its_pixels(build, pictures, tmp_path):
  skipped = build()
  index = open_index(tmp_path / 'index')
  assert list(skipped) == list(index.skipped) == ['3_broken.png']
  assert len(index) == 7
  for row, file in enumerate(index.file):
    with Image.open(pictures / index.names[file]) as image:
      pixels = np.asarray(image.resize((4, 4)))[None]
    np.testing.assert_allclose(index.features[row], mean_color(pixels)[0], atol=1e-6)
  assert index.boxes.tolist() == [[0, 0, 24, 16]] * 7


def test_tiles_cover_each_image_and_say_where_they_are(build, tmp_path):
  build(tile=16, stride=8)
  index = open_index(tmp_path / 'index')
  assert len(index) == 7 * 2
  assert index.boxes[:2].tolist() == [[0, 0, 16, 16], [8, 0, 16, 16]]
  assert {index.names[file] for file in index.file} == {f'{i}.png' for i in range(7)}


def test_what_was_stopped_goes_on_without_doing_it_again(build, tmp_path, monkeypatch):
  build()
  whole = open_index(tmp_path / 'index').features
  shard_path(tmp_path / 'index', 1).unlink()
  read = []

  def note(paths, **settings):
    read.append([path.name for path in paths])
    return reading(paths, **settings)

  reading = module.read_rows
  monkeypatch.setattr(module, 'read_rows', note)
  build()
  assert read == [['3.png', '3_broken.png', '4.png']]
  np.testing.assert_array_equal(open_index(tmp_path / 'index').features, whole)
  build()
  assert len(read) == 1


def test_machines_share_the_work_and_each_file_is_done_once(build, tmp_path):
  build(share=(1, 2))
  done = [path.name for path in (tmp_path / 'index/shards').iterdir()]
  assert done == ['00001.safetensors']
  with pytest.raises(UserError, match='2 missing'):
    open_index(tmp_path / 'index')
  build(share=(0, 2))
  assert len(open_index(tmp_path / 'index')) == 7
  with pytest.raises(UserError, match=r'--share: expected .*; found 2/2'):
    build(share=(2, 2))


def test_progress_counts_every_file_once(build):
  seen = []

  def track(items, *, title, total):
    seen.append((sum(1 for _ in items), total))
    return []

  build(track=track)
  assert seen == [(8, 8)]


def test_images_that_all_fail_make_no_index(build, pictures, tmp_path):
  for path in pictures.iterdir():
    path.write_bytes(b'none')
  assert len(build()) == 8
  with pytest.raises(UserError, match='8 of 8 were skipped'):
    open_index(tmp_path / 'index')


@pytest.mark.parametrize('tile', [0, 16])
def test_a_page_shows_each_hit_and_needs_no_network(build, tmp_path, tile):
  build(tile=tile, stride=tile)
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
