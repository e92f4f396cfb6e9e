"""Leaves unreadable images out of a table, for `on_bad_image=skip`.

Images leave before the order of an epoch is drawn: so batches stay full, and an image
and its captions stay together.
"""

import concurrent.futures
from collections.abc import Callable, Collection, Mapping

import numpy as np

from harma_jax.data.annotations import CaptionTable, select_images
from harma_jax.errors import UserError


def find_unreadable(
  n_images: int, read: Callable[[int], object], *, threads: int = 1
) -> dict[int, UserError]:
  """Reads all images and returns the mistakes by image row, in order of the rows.

  On several processes each finds its own set, and a disk that fails one of them only
  would give them different tables: compare their `fingerprint` before training.

  Args:
    n_images: of the table.
    read: decodes the image of a row, or raises UserError; called from threads. For
      files, `lambda row: read_image(table.image_path(row))`.
    threads: how many images are decoded at once, at least one.
  """

  def problem(row):
    try:
      read(row)
    except UserError as error:
      return error
    return None

  with concurrent.futures.ThreadPoolExecutor(max(threads, 1)) as pool:
    problems = enumerate(pool.map(problem, range(n_images)))
    return {row: found for row, found in problems if found is not None}


def without_images(table: CaptionTable, rows: Collection[int]) -> CaptionTable:
  """The table without some images and all their captions; see `select_images`.

  Its `fingerprint` differs, so a run resumes only while the same images are unreadable.

  Args:
    table: is not changed.
    rows: of its images, counted from 0.

  Raises:
    UserError: no image would be left.
  """
  kept = np.ones(table.n_images, bool)
  kept[list(rows)] = False
  if not kept.any():
    raise UserError(
      f'{table.image_root}: expected images of split {table.split!r} that can be read; '
      f'found none among {table.n_images}. Check the folder --config.data.images.'
    )
  return select_images(table, kept)


def describe_skipped(table: CaptionTable, problems: Mapping[int, UserError]) -> str:
  """What to tell the user: the counts, then each image once with what is wrong.

  Args:
    table: the whole one.
    problems: as `find_unreadable` gives them, at least one.
  """
  captions = int(np.isin(table.caption_image, list(problems)).sum())
  head = (
    f'skipped {len(problems)} of {table.n_images} images of split {table.split!r} and '
    f'their {captions} captions:'
  )
  return '\n'.join([head, *(f'  {problem}' for problem in problems.values())])
