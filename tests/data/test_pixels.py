"""Canvases of decoded images, and the choice of where they are kept."""

import pathlib
import threading

import numpy as np
import pytest
from PIL import Image

from harma_jax.data.annotations import CaptionTable
from harma_jax.data.images import read_image
from harma_jax.data.pixels import choose_cache, open_pixels, shrink, shrunk
from harma_jax.errors import UserError
from harma_jax.raster.how import How

# Width and height.
SIZES = ((30, 20), (30, 21), (12, 40), (5, 5))


@pytest.fixture(name='table')
def _table(tmp_path):
  rng = np.random.default_rng(0)
  for i, (width, height) in enumerate(SIZES):
    pixels = rng.integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / f'{i}.png')
  return table_of(tmp_path)


def table_of(root: pathlib.Path) -> CaptionTable:
  return CaptionTable(
    image_root=root,
    image_files=tuple(f'{i}.png' for i in range(len(SIZES))),
    captions=('a field',) * len(SIZES),
    caption_image=np.arange(len(SIZES), dtype=np.int32),
    split='train',
  )


@pytest.mark.parametrize('kept', [False, True])
@pytest.mark.parametrize('side', [10, 20, 300])
def test_an_image_lies_at_the_top_left_of_its_canvas(table, side, kept):
  store = open_pixels(table, side=side, threads=2)
  store = store.keep(threads=2) if kept else store
  rows = np.array([2, 0, 3, 2])
  pixels = store.take(rows)
  for image, (height, width), row in zip(*pixels, rows, strict=True):
    expected = np.asarray(shrink(read_image(table.image_path(row)), side=side))
    np.testing.assert_array_equal(image[:height, :width], expected)
    assert not image[height:].any()
    assert not image[:, width:].any()
  assert pixels.images.shape[1:3] == store.shape
  assert store.n_bytes == len(SIZES) * np.prod(store.shape) * 3


@pytest.mark.parametrize(
  ('size', 'expected'),
  [((30, 20), (15, 10)), ((20, 30), (10, 15)), ((8, 8), (8, 8)), ((100, 10), (20, 2))],
)
def test_an_image_is_shrunk_and_keeps_its_aspect(size, expected):
  """To 10 px on the shorter side, but no more than 20 on the longer."""
  assert shrunk(size, side=10) == expected
  image = Image.effect_noise(size, 40).convert('RGB')
  wanted = image.resize(expected, Image.Resampling.BICUBIC)
  np.testing.assert_array_equal(shrink(image, side=10), wanted)


def test_what_is_kept_is_not_read_again(table):
  store = open_pixels(table, side=10).keep(threads=1)
  before = store.take(np.arange(4))
  for path in table.image_root.iterdir():
    path.unlink()
  np.testing.assert_array_equal(store.take(np.arange(4)).images, before.images)


def test_a_turned_photo_fits_its_canvas(table):
  """Its header tells width and height before the turn."""
  image = Image.effect_noise((40, 10), 50).convert('RGB')
  exif = Image.Exif()
  exif[0x0112] = 6
  image.save(table.image_root / '0.png', exif=exif)
  pixels = open_pixels(table, side=100).take(np.array([0]))
  assert pixels.sizes.tolist() == [[40, 10]]


def test_what_is_no_image_is_told_when_opened(table):
  (table.image_root / '1.png').write_bytes(b'no image')
  with pytest.raises(UserError, match=r'1\.png: expected a readable image'):
    open_pixels(table, side=10)


def test_too_many_pixels_are_told_when_opened(table):
  with pytest.raises(UserError, match=r'more than max_pixels = 500'):
    open_pixels(table, side=10, max_pixels=500)


@pytest.mark.parametrize(('stretch', 'warned'), [('auto', True), ('0,3000', False)])
def test_images_that_are_stretched_each_by_itself_are_warned_of(
  table, caplog, stretch, warned
):
  grey = np.random.default_rng(0).integers(200, 3000, (30, 40)).astype(np.uint16)
  Image.fromarray(grey).save(table.image_root / '0.png')
  how = How(stretch=stretch)
  pixels = open_pixels(table, side=100, how=how).take(np.array([0])).images[0]
  expected = read_image(table.image_root / '0.png', how=how)
  np.testing.assert_array_equal(pixels[:30, :40], expected)
  assert ('data.stretch=MIN,MAX' in caplog.text) == warned


def test_a_damaged_image_is_told_when_it_is_kept(table):
  store = open_pixels(table, side=10)
  path = table.image_root / '2.png'
  path.write_bytes(path.read_bytes()[:-200])
  with pytest.raises(UserError, match=r'2\.png: expected a readable image'):
    store.keep(threads=2)


def test_a_store_serves_many_threads(table):
  store = open_pixels(table, side=10)
  expected = store.keep(threads=1).kept.images
  wrong = []

  def ask(seed):
    for row in np.random.default_rng(seed).integers(0, 4, 30):
      if not np.array_equal(store.take(np.array([row])).images[0], expected[row]):
        wrong.append(row)

  threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(4)]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  assert wrong == []


@pytest.mark.parametrize(
  ('device', 'host', 'expected'),
  [
    (100, 100, 'device'),
    (20, 100, 'host'),
    (20, 15, 'stream'),
    (None, 100, 'host'),
    (None, 15, 'stream'),
  ],
)
def test_the_nearest_memory_with_room_is_chosen(device, host, expected):
  assert choose_cache(10, device_bytes=device, host_bytes=host) == expected
