"""Batches of training pairs and of evaluation images, prepared ahead.

In threads or processes; NumPy and Pillow only: they share no device with the
computation.
"""

import contextlib
import itertools
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from harma_jax.data.annotations import CaptionTable
from harma_jax.data.images import MAX_PIXELS, read_image, resize_for_evaluation
from harma_jax.data.pixels import PixelStore
from harma_jax.data.processes import held_signals
from harma_jax.data.sampler import (
  batch_rows,
  choose_captions,
  item_rng,
  steps_per_epoch,
)
from harma_jax.data.tokenizer import text_lengths
from harma_jax.data.workers import (
  check_shared_memory,
  start_worker,
  take_over,
)
from harma_jax.errors import UserError
from harma_jax.raster.how import DEFAULT, How


def train_batches(
  table: CaptionTable,
  tokens: np.ndarray,
  *,
  seed: int,
  batch_size: int,
  first_step: int,
  last_step: int,
  pixels: PixelStore | None = None,
  lengths: Sequence[int] = (),
  captions_per_image: int = 1,
  n_distinct: int = 0,
  process_index: int = 0,
  process_count: int = 1,
  threads: int = 2,
  workers: int = 0,
  prefetch: int = 4,
) -> Iterator[tuple[dict[str, np.ndarray], int]]:
  """The training batches of steps `first_step` to `last_step - 1`.

  A batch is a pure function of (seed, step): a run that resumes gets the rest of the
  same stream, on any number of processes, threads and workers.

  Args:
    table: the captions of the training split.
    tokens: i32[n_captions, L], of all captions.
    seed: of the order, and handed on to augmentation.
    batch_size: of the global batch.
    first_step: counted from 0.
    last_step: excluded.
    pixels: the images, or None where the device has them.
    lengths: to which the captions of a batch may be cut, rising; L besides.
    captions_per_image: 1 makes an item of every caption; M above 1 makes one of every
      image, with M of its captions, of different texts as far as it has them.
    n_distinct: above 0, an image comes once for all its captions in a global batch,
      which has so many places for images (see `most_distinct_images`).
    process_index: which contiguous part of every global batch this process gets.
    process_count: how many equal parts there are.
    threads: each prepares whole batches; 0 prepares them in the caller's.
    workers: processes that prepare the batches in turn, each with so many threads, and
      hand them over in shared memory; 0 prepares them in this process. Grain starts
      them only where absl's flags are parsed, as by `app.run`.
    prefetch: how many batches are prepared ahead, at least one a thread and worker.

  Returns:
    An iterator, to be closed when left early, of batches and the length that holds all
    captions of the global batch. A batch is a dict of `items`, `seed` and `epoch`
    i32[b] (what augmentation draws from), `image_ids` i32[b] (rows of the table's
    images), `rows` i32[b], or i32[b, M] with M captions an image (rows of its captions)
    and, with `pixels`, `images` u8[b, H, W, 3] and `sizes` i32[b, 2]; b = batch_size /
    process_count. With `n_distinct` d, `items`, `images` and `sizes` have d /
    process_count rows, `items` are the images' rows, and `own` i32[b] is the place of a
    pair's image among the d of the global batch.

  Raises:
    UserError: a batch size that does not fit the captions or the processes, or too
      little shared memory; while iterating, an image that cannot be read.
  """
  part, part_of_images = (
    _part_of_batch(size, process_index=process_index, process_count=process_count)
    for size in (batch_size, n_distinct)
  )
  if workers and pixels:
    # Of each worker one batch waits for a place in the queue and one lies there, and
    # as many again on this side; one more is being copied.
    n_bytes = pixels.n_bytes * (part.stop - part.start) // table.n_images
    check_shared_memory((4 * workers + 1) * n_bytes)
  indices = _index_maker(
    table,
    tokens,
    seed=seed,
    batch_size=batch_size,
    lengths=lengths,
    captions_per_image=captions_per_image,
    n_distinct=n_distinct,
    part=part,
    part_of_images=part_of_images,
  )

  def make(step):
    batch, length = indices(step)
    wanted = batch['items' if n_distinct else 'image_ids']
    return batch | (pixels.take(wanted)._asdict() if pixels else {}), length

  return _prepare_ahead(
    make,
    range(first_step, last_step),
    threads=threads,
    workers=workers,
    prefetch=prefetch,
  )


def _index_maker(
  table: CaptionTable,
  tokens: np.ndarray,
  *,
  seed: int,
  batch_size: int,
  lengths: Sequence[int],
  captions_per_image: int,
  n_distinct: int,
  part: slice,
  part_of_images: slice,
) -> Callable[[int], tuple[dict[str, np.ndarray], int]]:
  """Builds `indices(step)`: this process's batch without pixels, and its length."""
  several = captions_per_image > 1
  n = table.n_images if several else table.n_captions
  steps = steps_per_epoch(n, batch_size=batch_size)
  # Of a million captions it takes tens of seconds.
  choose = several and _caption_chooser(table, tokens, count=captions_per_image)
  longest = _longest_text(table, tokens, of_images=several)
  lengths = np.array([*lengths, tokens.shape[1]])

  def rows_of(items, epoch):
    if not several:
      return items
    rngs = (item_rng(seed=seed, epoch=epoch, row=int(item)) for item in items)
    return np.stack(list(map(choose, items, rngs)))

  def indices(step):
    epoch = step // steps
    whole = batch_rows(step, n=n, batch_size=batch_size, seed=seed)
    image_ids, items = whole if several else table.caption_image[whole], whole[part]
    batch = {
      'items': items,
      'seed': np.full(len(items), seed),
      'epoch': np.full(len(items), epoch),
      'image_ids': image_ids[part],
      'rows': rows_of(items, epoch),
    }
    if n_distinct:
      distinct, own = np.unique(image_ids, return_inverse=True)
      # Places that are left hold an image of the batch again.
      places = np.resize(distinct, n_distinct)
      batch |= {'items': places[part_of_images], 'own': own[part]}
    batch = {name: rows.astype(np.int32) for name, rows in batch.items()}
    return batch, int(lengths[np.searchsorted(lengths, longest[whole].max())])

  return indices


def most_distinct_images(
  table: CaptionTable, *, seed: int, batch_size: int, last_step: int, multiple: int = 1
) -> int:
  """How many images the batches of steps 0 to `last_step - 1` have at most.

  Args:
    table: of the training split; an item is a caption.
    seed: of the order.
    batch_size: of the global batch.
    last_step: excluded.
    multiple: rounds up, to what the devices divide.
  """
  counts = (
    len(np.unique(table.caption_image[rows]))
    for rows in (
      batch_rows(step, n=table.n_captions, batch_size=batch_size, seed=seed)
      for step in range(last_step)
    )
  )
  return -(-max(counts, default=batch_size) // multiple) * multiple


def _longest_text(
  table: CaptionTable, tokens: np.ndarray, *, of_images: bool
) -> np.ndarray:
  """i32: the positions of every caption, or of the longest one of every image."""
  lengths = text_lengths(tokens)
  if not of_images:
    return lengths
  longest = np.zeros(table.n_images, np.int32)
  np.maximum.at(longest, table.caption_image, lengths)
  return longest


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
  table: CaptionTable,
  *,
  side: int,
  batch_size: int,
  threads: int = 2,
  max_pixels: int = MAX_PIXELS,
  how: How = DEFAULT,
  interpolation: str = 'bicubic',
) -> Iterator[np.ndarray]:
  """All images of the table in its order, from their files, for evaluation.

  Returns:
    An iterator, to be closed when left early, of u8[<=batch_size, side, side, 3]; only
    the last may be smaller.

  Raises:
    UserError: while iterating, an image that cannot be read.
  """

  def make(start):
    rows = range(start, min(start + batch_size, table.n_images))
    images = (
      read_image(table.image_path(row), max_pixels=max_pixels, how=how) for row in rows
    )
    seen = {'side': side, 'interpolation': interpolation}
    return np.stack([resize_for_evaluation(image, **seen) for image in images])

  return _prepare_ahead(
    make, range(0, table.n_images, batch_size), threads=threads, prefetch=threads
  )


def _prepare_ahead(
  make: Callable[[int], object],
  keys: range,
  *,
  threads: int,
  workers: int = 0,
  prefetch: int,
) -> Iterator:
  """`make` of every key, in order, the next ones made meanwhile.

  With workers, `make` and what it refers to are sent to each of them.
  """
  import grain  # takes long, and only training reads so

  each = -(-prefetch // max(workers, 1))
  options = grain.ReadOptions(
    num_threads=threads, prefetch_buffer_size=max(threads, each)
  )
  dataset = grain.MapDataset.range(keys.start, keys.stop, keys.step).map(make)
  dataset = dataset.to_iter_dataset(options)
  if workers:
    processes = grain.MultiprocessingOptions(num_workers=workers)
    dataset = dataset.mp_prefetch(processes, start_worker).map(take_over)
  with contextlib.closing(iter(dataset)) as batches:
    with held_signals() if workers else contextlib.nullcontext():
      first = list(itertools.islice(batches, 1))  # starts the workers
    yield from itertools.chain(first, batches)


def _part_of_batch(batch_size: int, *, process_index: int, process_count: int) -> slice:
  part, rest = divmod(batch_size, process_count)
  if rest:
    nearest = max(part, 1) * process_count
    raise UserError(
      f'train.batch_size: expected a multiple of the {process_count} processes; found '
      f'{batch_size}. Set --config.train.batch_size={nearest}.'
    )
  return slice(process_index * part, (process_index + 1) * part)
