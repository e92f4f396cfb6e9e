"""Batches of training pairs and of evaluation images, prepared ahead in threads.

NumPy and Pillow only: the threads share no device with the computation.
"""

import concurrent.futures
import contextlib
from collections.abc import Callable, Iterator

import grain
import numpy as np
from PIL import Image

from harma_jax.data.annotations import CaptionTable
from harma_jax.data.images import read_image, resize_for_evaluation
from harma_jax.data.sampler import (
  batch_rows,
  choose_captions,
  item_rng,
  steps_per_epoch,
)
from harma_jax.errors import UserError


class ImageStore:
  """The decoded images of a table, by image row; any number of threads may ask.

  With `cache`, an image is decoded when first asked for and kept in host memory as
  u8[height, width, 3]: 3 * width * height bytes each, so 150 kB at 224 x 224 and 1.2 GB
  for the 7,862 training images of RSICD. With `cache_side` above 0, a larger image is
  kept shrunk (bicubic, same aspect) to that many pixels on its shorter side: crops then
  come from the shrunk image. Take at least `side / sqrt(smallest crop_scale)`, lest
  small crops be enlarged: 96 for 64 px, 28 kB each. Without `cache`, nothing is kept
  and nothing shrunk.
  """

  def __init__(self, table: CaptionTable, *, cache: bool, cache_side: int = 0):
    self.table = table
    self._cache_side = cache_side
    self._cached = [None] * table.n_images if cache else None

  def image(self, row: int) -> Image.Image:
    """The RGB image of a row, maybe shrunk, for training.

    Raises:
      UserError: the file cannot be read.
    """
    if self._cached is None:
      return self.original(row)
    return Image.fromarray(self._kept(row))

  def fill(self, *, threads: int) -> None:
    """Decodes all images into the cache, where there is one.

    Raises:
      UserError: a file cannot be read: found now and not in the middle of training.
    """
    rows = range(self.table.n_images if self._cached is not None else 0)
    with concurrent.futures.ThreadPoolExecutor(max(threads, 1)) as pool:
      for _ in pool.map(lambda row: self._kept(row).nbytes, rows):
        pass

  def original(self, row: int) -> Image.Image:
    """The RGB image of a row, read from its file.

    Raises:
      UserError: the file cannot be read.
    """
    return read_image(self.table.image_root / self.table.image_files[row])

  def _kept(self, row: int) -> np.ndarray:
    # Two threads may decode the same image at once: the second result replaces an
    # equal one, which costs less than a lock around every decoding.
    if self._cached[row] is None:
      self._cached[row] = np.asarray(_shrink(self.original(row), side=self._cache_side))
    return self._cached[row]

  @property
  def cached_bytes(self) -> int:
    """Host memory that the kept images take so far."""
    return sum(image.nbytes for image in self._cached or () if image is not None)


def train_batches(
  store: ImageStore,
  tokens: np.ndarray,
  *,
  seed: int,
  batch_size: int,
  first_step: int,
  last_step: int,
  augment: Callable[[Image.Image, np.random.Generator], np.ndarray],
  captions_per_image: int = 1,
  process_index: int = 0,
  process_count: int = 1,
  threads: int = 2,
  prefetch: int = 4,
) -> Iterator[dict[str, np.ndarray]]:
  """The training batches of steps `first_step` to `last_step - 1`.

  A batch is a pure function of (seed, step): a run that resumes gets the rest of the
  same stream, on any number of processes and threads.

  Args:
    store: the images and captions of the training split.
    tokens: i32[n_captions, L], of all captions.
    seed: of order and augmentation.
    batch_size: of the global batch.
    first_step: counted from 0.
    last_step: excluded.
    augment: from an RGB image and a source of random choices to u8[side, side, 3].
    captions_per_image: 1 makes an item of every caption; M above 1 makes one of every
      image, with M of its captions, of different texts as far as it has them.
    process_index: which contiguous part of every global batch this process gets.
    process_count: how many equal parts there are.
    threads: each prepares whole batches; 0 prepares them in the caller's.
    prefetch: how many batches are prepared ahead, at least one a thread.

  Returns:
    An iterator, to be closed when left early, of dicts with `images`
    u8[b, side, side, 3], `tokens` i32[b, L], `image_ids` i32[b] (rows of the table's
    images) and `rows` i64[b] (rows of its captions), b = batch_size / process_count;
    with M captions an image `tokens` i32[b, M, L] and `rows` i64[b, M].

  Raises:
    UserError: a batch size that does not fit the captions or the processes; while
      iterating, an image that cannot be read.
  """
  table, several = store.table, captions_per_image > 1
  n = table.n_images if several else table.n_captions
  steps = steps_per_epoch(n, batch_size=batch_size)
  part = _part_of_batch(
    batch_size, process_index=process_index, process_count=process_count
  )
  choose = _caption_chooser(table, tokens, count=captions_per_image)

  def make(step):
    items = batch_rows(step, n=n, batch_size=batch_size, seed=seed)[part]
    rngs = [item_rng(seed=seed, epoch=step // steps, row=int(item)) for item in items]
    pairs = list(zip(items, rngs, strict=True))
    rows = np.stack([choose(image, rng) for image, rng in pairs]) if several else items
    image_ids = items.astype(np.int32) if several else table.caption_image[items]
    images = [
      augment(store.image(image_id), rng)
      for image_id, rng in zip(image_ids, rngs, strict=True)
    ]
    return {
      'images': np.stack(images),
      'tokens': tokens[rows],
      'image_ids': image_ids,
      'rows': rows,
    }

  return _prepare_ahead(
    make, range(first_step, last_step), threads=threads, prefetch=prefetch
  )


def _caption_chooser(table: CaptionTable, tokens: np.ndarray, *, count: int):
  """`choose(image, rng)`: rows i64[count] of the captions of an image."""
  _, texts = np.unique(tokens, axis=0, return_inverse=True)
  texts = texts.ravel()
  by_image = np.argsort(table.caption_image, kind='stable')
  ends = np.cumsum(np.bincount(table.caption_image, minlength=table.n_images))
  rows = np.split(by_image, ends[:-1])

  def choose(image, rng):
    own = rows[image]
    return choose_captions(own, texts[own], count=count, rng=rng)

  return choose


def image_batches(
  store: ImageStore, *, side: int, batch_size: int, threads: int = 2
) -> Iterator[np.ndarray]:
  """All images of the table in its order, for evaluation.

  Read from the original files, never from the store's cache.

  Returns:
    An iterator, to be closed when left early, of u8[<=batch_size, side, side, 3]; only
    the last may be smaller.

  Raises:
    UserError: while iterating, an image that cannot be read.
  """
  n = store.table.n_images

  def make(start):
    rows = range(start, min(start + batch_size, n))
    return np.stack(
      [resize_for_evaluation(store.original(row), side=side) for row in rows]
    )

  return _prepare_ahead(
    make, range(0, n, batch_size), threads=threads, prefetch=threads
  )


def _prepare_ahead(
  make: Callable[[int], object], keys: range, *, threads: int, prefetch: int
) -> Iterator:
  """`make` of every key, in order, the next ones made meanwhile in threads."""
  options = grain.ReadOptions(
    num_threads=threads, prefetch_buffer_size=max(threads, prefetch)
  )
  dataset = grain.MapDataset.range(keys.start, keys.stop, keys.step).map(make)
  with contextlib.closing(iter(dataset.to_iter_dataset(options))) as batches:
    yield from batches


def _part_of_batch(batch_size: int, *, process_index: int, process_count: int) -> slice:
  part, rest = divmod(batch_size, process_count)
  if rest:
    nearest = max(part, 1) * process_count
    raise UserError(
      f'train.batch_size: expected a multiple of the {process_count} processes; found '
      f'{batch_size}. Set --config.train.batch_size={nearest}.'
    )
  return slice(process_index * part, (process_index + 1) * part)


def _shrink(image: Image.Image, *, side: int) -> Image.Image:
  shorter = min(image.size)
  if not 0 < side < shorter:
    return image
  size = tuple(round(length * side / shorter) for length in image.size)
  return image.resize(size, Image.Resampling.BICUBIC)
