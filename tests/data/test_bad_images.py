import numpy as np
import pytest
from PIL import Image

from harma_jax.data.annotations import CaptionTable, fingerprint
from harma_jax.data.bad_images import describe_skipped, find_unreadable, without_images
from harma_jax.data.images import read_image
from harma_jax.data.sampler import batch_rows
from harma_jax.errors import UserError

N_IMAGES = 9
BAD = (0, 4, 8)


@pytest.fixture(name='table')
def _table(tmp_path):
  """Nine images with two captions each, not neighbours; three are damaged."""
  files = tuple(f'{i}.png' for i in range(N_IMAGES))
  for i, file in enumerate(files):
    Image.new('RGB', (8, 8), (i, i, i)).save(tmp_path / file)
  for row in BAD:
    (tmp_path / files[row]).write_bytes(b'')
  caption_image = np.random.default_rng(0).permutation(N_IMAGES * 2) % N_IMAGES
  return CaptionTable(
    image_root=tmp_path,
    image_files=files,
    captions=tuple(f'{i} of image {row}' for i, row in enumerate(caption_image)),
    caption_image=caption_image.astype(np.int32),
    split='train',
  )


def pairs(table):
  """(image file, caption) of every caption, in order."""
  files = [table.image_files[row] for row in table.caption_image]
  return list(zip(files, table.captions, strict=True))


def problems_of(table, *, threads=1):
  def read(row):
    return read_image(table.image_path(row))

  return find_unreadable(table.n_images, read, threads=threads)


@pytest.mark.parametrize('threads', [0, 1, 3])
def test_unreadable_images_are_found_in_order(table, threads):
  problems = problems_of(table, threads=threads)
  assert tuple(problems) == BAD
  assert all(f'{row}.png: expected' in str(problems[row]) for row in BAD)


def test_defects_are_not_taken_for_bad_images():
  with pytest.raises(ZeroDivisionError):
    find_unreadable(3, lambda row: 1 // row)


@pytest.mark.parametrize('rows', [BAD, (), (3,), (0, 1, 2, 3, 4, 5, 6, 7)])
def test_image_and_caption_stay_together(table, rows):
  names = {f'{row}.png' for row in rows}
  left = without_images(table, rows)
  assert pairs(left) == [pair for pair in pairs(table) if pair[0] not in names]
  assert left.image_files == tuple(n for n in table.image_files if n not in names)
  assert left.caption_image.dtype == np.int32
  assert not left.caption_image.flags.writeable
  assert (left.split, left.image_root) == (table.split, table.image_root)


def test_the_table_given_is_not_changed(table):
  before = fingerprint(table)
  assert fingerprint(without_images(table, BAD)) != before
  assert fingerprint(without_images(table, ())) == before == fingerprint(table)


def test_images_without_captions_may_leave(table):
  lonely = without_images(table, BAD)
  captions = tuple(c for c in lonely.captions if not c.endswith('image 1'))
  owners = lonely.caption_image[lonely.caption_image != 0]
  lonely = CaptionTable(
    **vars(lonely) | {'captions': captions, 'caption_image': owners}
  )
  left = without_images(lonely, [0])
  assert pairs(left) == pairs(lonely)


def test_no_image_left_is_the_users_mistake(table):
  with pytest.raises(UserError, match=r"split 'train' .* none among 9"):
    without_images(table, range(N_IMAGES))


def test_each_path_is_told_once_with_the_counts(table):
  problems = problems_of(table)
  text = describe_skipped(table, problems)
  assert text.startswith("skipped 3 of 9 images of split 'train' and their 6 captions:")
  assert [text.count(f'{row}.png:') for row in range(N_IMAGES)] == [
    int(row in BAD) for row in range(N_IMAGES)
  ]


def test_batches_stay_full_and_aligned(table):
  left = without_images(table, problems_of(table))
  seen = []
  for step in range(3):  # an epoch: twelve captions in batches of four
    rows = batch_rows(step, n=left.n_captions, batch_size=4, seed=1)
    assert len(rows) == 4
    for row in rows:
      image = read_image(left.image_path(left.caption_image[row]))
      assert left.captions[row].endswith(f' {image.getpixel((0, 0))[0]}')
      seen.append(left.captions[row])
  assert sorted(seen) == sorted(left.captions)
