"""Captions that change places."""

import collections
import pathlib

import numpy as np
import pytest

from harma_jax.data.annotation_files import read_entries
from harma_jax.data.annotations import CaptionTable
from harma_jax.data.entries import make_path_of
from harma_jax.data.noise import compare_pairs, compare_tables, swap_captions
from harma_jax.data.reading import Reading
from harma_jax.errors import UserError


@pytest.fixture(scope='module')
def table():
  captions = tuple(f'picture {row // 5}, caption {row % 5}' for row in range(200))
  return CaptionTable(
    image_root=pathlib.Path('images'),
    image_files=tuple(f'{image}.png' for image in range(40)),
    captions=captions,
    caption_image=np.repeat(np.arange(40, dtype=np.int32), 5),
    split='train',
  )


@pytest.mark.parametrize('share', [0.0, 0.2, 1.0])
def test_a_share_of_the_captions_belongs_to_other_images(table, share):
  swapped, wrong = swap_captions(table, share=share, seed=0)
  moved = [
    old != new for old, new in zip(table.captions, swapped.captions, strict=True)
  ]
  assert sum(moved) == round(200 * share)
  belongs = [
    f'picture {image},' in caption
    for caption, image in zip(swapped.captions, table.caption_image, strict=True)
  ]
  assert wrong.tolist() == [not own for own in belongs]
  # A few move within their image.
  assert wrong.mean() == pytest.approx(share, abs=0.05)


def test_no_caption_is_lost_and_the_rest_stays(table):
  swapped, _ = swap_captions(table, share=0.4, seed=0)
  assert collections.Counter(swapped.captions) == collections.Counter(table.captions)
  assert swapped.caption_image is table.caption_image
  assert swapped.image_files == table.image_files


def test_a_caption_that_its_image_had_anyway_is_not_wrong(table):
  same = CaptionTable(
    image_root=table.image_root,
    image_files=table.image_files,
    captions=('a field',) * 200,
    caption_image=table.caption_image,
    split='train',
  )
  assert not swap_captions(same, share=1.0, seed=0)[1].any()


def test_the_seed_decides(table):
  first, again, other = (
    swap_captions(table, share=0.2, seed=seed)[0].captions for seed in (0, 0, 1)
  )
  assert first == again != other


def test_captions_are_compared_with_the_clean_ones(table):
  swapped, wrong = swap_captions(table, share=0.4, seed=0)
  noise = compare_tables(swapped, table)
  assert noise.moved.sum() == 80
  np.testing.assert_array_equal(noise.wrong, wrong)
  assert not compare_tables(table, table).moved.any()


def test_a_caption_that_moves_within_its_image_is_moved_and_not_wrong():
  clean = [('a.jpg', 'one'), ('a.jpg', 'two'), ('b.jpg', 'three'), ('b.jpg', 'four')]
  noisy = [('a.jpg', 'two'), ('a.jpg', 'three'), ('b.jpg', 'three'), ('b.jpg', 'x')]
  moved, wrong = compare_pairs(noisy, clean)
  assert moved.tolist() == [True, True, False, True]
  assert wrong.tolist() == [False, True, False, True]


@pytest.mark.parametrize('clean', [[('a.jpg', 'x')], [('a.jpg', 'x'), ('c.jpg', 'y')]])
def test_tables_of_other_images_are_not_compared(clean):
  with pytest.raises(
    UserError, match=r'same images .*; found 2 and . rows, of which 1'
  ):
    compare_pairs([('a.jpg', 'one'), ('b.jpg', 'two')], clean)


@pytest.mark.parametrize(
  ('level', 'share'), [(2, '19.99'), (4, '39.98'), (6, '60.00'), (8, '79.99')]
)
def test_the_published_shares_of_rrsitr(data_dir, level, share):
  folder = data_dir / 'rrsitr_nc'
  if not folder.is_dir():
    pytest.skip(f'there is no {folder}')
  reading = Reading(prefix='/datasets/RSITMD/images=')
  path_of = make_path_of(reading=reading)
  noisy, clean = (
    [
      (path_of(entry.image), entry.captions[0])
      for entry in read_entries(folder / f'RSITMD-NC-0{number}.csv', reading=reading)
    ]
    for number in (level, 0)
  )
  assert len(clean) == 19305
  assert clean[0][0] == 'industrial_1954.tif'
  assert f'{100 * compare_pairs(noisy, clean).moved.mean():.2f}' == share
