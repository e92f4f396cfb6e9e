"""The list of a folder's images, and the boxes that cover an image."""

import numpy as np
import pytest

from harma_jax.errors import UserError
from harma_jax.search_index.files import (
  check_tiles,
  find_images,
  make_tiles,
  tile_boxes,
)


def test_images_are_found_below_the_folder_sorted_and_by_their_ending(tmp_path, caplog):
  for name in ('b.JPG', 'a/c.tiff', 'a/b.png', 'notes.txt', '.x.jpg', '.git/y.jpg'):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.touch()
  (tmp_path / 'link.jpg').symlink_to(tmp_path / 'b.JPG')
  (tmp_path / 'lost.jpg').symlink_to(tmp_path / 'gone.jpg')
  assert find_images(tmp_path) == ['a/b.png', 'a/c.tiff', 'b.JPG', 'link.jpg']
  assert '1 links lead to no file, as ' in caplog.text
  assert 'lost.jpg' in caplog.text


def test_a_folder_without_images_and_none_at_all_are_named(tmp_path):
  with pytest.raises(UserError, match=f'in {tmp_path}; found none'):
    find_images(tmp_path)
  with pytest.raises(UserError, match='gone is none'):
    find_images(tmp_path / 'gone')


@pytest.mark.parametrize('width', [1, 7, 8, 9, 20, 21])
@pytest.mark.parametrize(('tile', 'stride'), [(8, 8), (8, 4), (8, 3), (0, 0)])
def test_every_pixel_is_in_a_box_and_no_box_leaves_the_image(width, tile, stride):
  height = 13
  boxes = tile_boxes(width, height, tile=tile, stride=stride)
  covered = np.zeros((height, width), bool)
  for left, top, w, h in boxes:
    assert 0 <= left <= width - w
    assert 0 <= top <= height - h
    covered[top : top + h, left : left + w] = True
  assert covered.all()
  assert len(np.unique(boxes, axis=0)) == len(boxes)
  size = [min(tile, width), min(tile, height)] if tile else [width, height]
  assert (boxes[:, 2:] == size).all()


def test_an_image_smaller_than_a_tile_is_one_tile_of_its_own_size():
  assert tile_boxes(5, 3, tile=8, stride=4).tolist() == [[0, 0, 5, 3]]


@pytest.mark.parametrize(('tile', 'stride'), [(8, 9), (8, 0), (0, 4), (-8, -8)])
def test_tiles_that_would_leave_gaps_are_refused(tile, stride):
  with pytest.raises(UserError, match=f'--tile={tile} --stride={stride}'):
    check_tiles([(256, 128), (tile, stride)])


def test_a_stride_is_half_a_tile_where_it_is_not_given():
  assert make_tiles(0) == [(0, 0)]
  assert make_tiles(7) == [(7, 4)]
  assert make_tiles([256, 512], [0]) == [(256, 128), (512, 256)]
  assert make_tiles([256, 0], [64, 0]) == [(256, 64), (0, 0)]
  with pytest.raises(UserError, match='expected one for each of 2 tiles; found 3'):
    make_tiles([256, 512], [1, 2, 3])
  with pytest.raises(UserError, match='no tile twice; found --tile=8,8'):
    make_tiles([8, 8])
