"""Captions that change places."""

import collections
import pathlib

import numpy as np
import pytest

from harma_jax.data.annotations import CaptionTable
from harma_jax.data.noise import swap_captions


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
