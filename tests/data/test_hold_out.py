"""Validation images from a training split."""

import dataclasses
import pathlib

import numpy as np
import pytest

from harma_jax.data.annotations import CaptionTable
from harma_jax.data.hold_out import hold_out
from harma_jax.errors import UserError

FILES = tuple(f'scene_{number}.png' for number in range(40))


@pytest.fixture
def make_table():
  """`make_table(files)`: image i has 1 + i % 3 captions, which name it."""

  def make(files):
    owner = [row for row in range(len(files)) for _ in range(1 + row % 3)]
    return CaptionTable(
      image_root=pathlib.Path('images'),
      image_files=files,
      captions=tuple(f'{number} of {files[row]}' for number, row in enumerate(owner)),
      caption_image=np.array(owner, np.int32),
      split='train',
    )

  return make


def captions_by_image(table):
  return {
    (table.image_files[row], caption)
    for row, caption in zip(table.caption_image, table.captions, strict=True)
  }


@pytest.mark.parametrize('share', [0.025, 0.1, 0.5, 0.97])
def test_every_image_is_on_one_side_with_all_its_captions(make_table, share):
  table = make_table(FILES)
  rest, held = hold_out(table, share=share, split='val')
  assert (rest.split, held.split) == ('train', 'val')
  assert held.n_images == round(share * 40)
  assert not set(rest.image_files) & set(held.image_files)
  whole = captions_by_image(table)
  assert captions_by_image(rest) | captions_by_image(held) == whole
  assert rest.n_captions + held.n_captions == table.n_captions
  for part in (rest, held):
    assert list(part.image_files) == [f for f in FILES if f in part.image_files]


def test_the_choice_is_that_of_the_names_alone(make_table):
  _, held = hold_out(make_table(FILES), share=0.2, split='val')
  _, reordered = hold_out(make_table(FILES[::-1]), share=0.2, split='val')
  assert set(reordered.image_files) == set(held.image_files)
  more = (*FILES, *(f'new_{number}.png' for number in range(5)))
  _, of_more = hold_out(make_table(more), share=0.2, split='val')
  old = [file for file in of_more.image_files if file in FILES]
  assert set(old) <= set(held.image_files) or set(held.image_files) <= set(old)
  # Not the first ones: data sets are in the order of their classes.
  assert set(held.image_files) != set(FILES[:8])


@pytest.mark.parametrize('share', [0.001, 0.999])
def test_both_sides_have_images(make_table, share):
  with pytest.raises(UserError, match=rf'data\.hold_out: .* found {share} of 40'):
    hold_out(make_table(FILES), share=share, split='val')


def test_the_table_is_not_changed(make_table):
  table = make_table(FILES)
  before = dataclasses.asdict(table)
  hold_out(table, share=0.3, split='val')
  after = dataclasses.asdict(table)
  np.testing.assert_array_equal(after.pop('caption_image'), before.pop('caption_image'))
  assert after == before
