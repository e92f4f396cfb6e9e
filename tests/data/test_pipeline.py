"""Batches of indices and canvases: order, parts of processes, threads, lengths."""

import multiprocessing
import shutil
import threading
import time

import numpy as np
import pytest
from PIL import Image

from harma_jax.data import workers
from harma_jax.data.annotations import CaptionTable
from harma_jax.data.images import read_image, resize_for_evaluation
from harma_jax.data.pipeline import (
  image_batches,
  most_distinct_images,
  train_batches,
)
from harma_jax.data.pixels import open_pixels
from harma_jax.data.sampler import batch_rows
from harma_jax.errors import UserError

N_IMAGES, SIDE, BATCH, LENGTH = 7, 8, 4, 9
INDICES = ('items', 'seed', 'epoch', 'image_ids', 'rows')
KEYS = (*INDICES, 'images', 'sizes')


@pytest.fixture(name='table')
def _table(tmp_path):
  rng = np.random.default_rng(0)
  files = tuple(f'{i}.png' for i in range(N_IMAGES))
  for i, file in enumerate(files):
    pixels = rng.integers(0, 256, (20 + i, 30, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / file)
  caption_image = np.repeat(np.arange(N_IMAGES, dtype=np.int32), 3)
  return CaptionTable(
    image_root=tmp_path,
    image_files=files,
    captions=tuple(f'caption {i}' for i in range(len(caption_image))),
    caption_image=caption_image,
    split='train',
  )


def _tokens(table):
  """Captions of 3 to 8 words in 9 positions; the highest id ends one."""
  tokens = np.zeros((table.n_captions, LENGTH), np.int32)
  for row, words in enumerate(tokens):
    words[: 3 + row % 6] = np.arange(3 + row % 6) + 10 * row + 1
  return tokens


def _batches(table, *, store=True, **options):
  defaults = {'seed': 3, 'batch_size': BATCH, 'first_step': 0, 'last_step': 12}
  if store and 'pixels' not in options:
    defaults['pixels'] = open_pixels(table, side=30)
  return train_batches(table, _tokens(table), **defaults | options)


def _dicts(table, **options):
  return [batch for batch, _ in _batches(table, **options)]


def _assert_equal(first, second):
  assert len(first) == len(second) > 0
  for a, b in zip(first, second, strict=True):
    assert set(a) == set(b) == set(KEYS)
    for key in KEYS:
      np.testing.assert_array_equal(a[key], b[key])


def _plain_batches(table, *, seed, last_step):
  """What `train_batches` must give, in one loop."""
  n = table.n_captions
  for step in range(last_step):
    rows = batch_rows(step, n=n, batch_size=BATCH, seed=seed)
    images = np.zeros((BATCH, 26, 30, 3), np.uint8)
    for place, row in enumerate(rows):
      image = read_image(table.image_path(table.caption_image[row]))
      images[place, : image.height, : image.width] = np.asarray(image)
    yield {
      'items': rows,
      'seed': [seed] * BATCH,
      'epoch': [step // (n // BATCH)] * BATCH,
      'image_ids': np.array([table.caption_image[row] for row in rows]),
      'rows': rows,
      'images': images,
      'sizes': [(20 + table.caption_image[row], 30) for row in rows],
    }


def test_batches_match_a_plain_loop_over_epochs(table):
  actual = _dicts(table)
  _assert_equal(actual, list(_plain_batches(table, seed=3, last_step=12)))
  batch = actual[0]
  assert {key: (batch[key].shape, batch[key].dtype.name) for key in KEYS} == {
    **dict.fromkeys(INDICES, ((BATCH,), 'int32')),
    'images': ((BATCH, 26, 30, 3), 'uint8'),
    'sizes': ((BATCH, 2), 'int32'),
  }


def test_where_the_device_has_the_images_a_batch_is_indices_alone(table):
  for alone, whole in zip(_dicts(table, store=False), _dicts(table), strict=True):
    assert set(alone) == set(INDICES)
    assert sum(rows.nbytes for rows in alone.values()) == 5 * 4 * BATCH
    assert all(np.array_equal(alone[key], whole[key]) for key in INDICES)


@pytest.mark.parametrize('lengths', [(), (5, 7), (3, 4, 5, 6, 7)])
def test_a_length_holds_all_captions_of_the_global_batch(table, lengths):
  tokens = _tokens(table)
  found = list(_batches(table, lengths=lengths, store=False))
  for batch, length in found:
    assert not tokens[batch['rows'], length:].any()
    shorter = max((n for n in lengths if n < length), default=0)
    assert tokens[batch['rows'], shorter:].any()
  assert {length for _, length in found} <= {*lengths, LENGTH}


@pytest.mark.parametrize('options', [{}, {'captions_per_image': 2}])
def test_all_processes_cut_to_the_same_length(table, options):
  options |= {'lengths': (3, 4, 5, 6, 7), 'store': False}
  whole = [length for _, length in _batches(table, **options)]
  assert len(set(whole)) > 1 or options.get('captions_per_image')
  for index in range(4):
    part = _batches(table, process_index=index, process_count=4, **options)
    assert [length for _, length in part] == whole


@pytest.mark.parametrize('count', [1, 2, 4])
def test_parts_of_all_processes_join_to_the_global_batch(table, count):
  whole = _dicts(table)
  parts = [_dicts(table, process_index=i, process_count=count) for i in range(count)]
  joined = [
    {key: np.concatenate([batch[key] for batch in batches]) for key in KEYS}
    for batches in zip(*parts, strict=True)
  ]
  assert len(parts[0][0]['rows']) == BATCH // count
  _assert_equal(joined, whole)


def test_a_resumed_run_gets_the_tail(table):
  _assert_equal(_dicts(table, first_step=7), _dicts(table)[7:])


@pytest.mark.parametrize('options', [{'threads': 0}, {'threads': 5, 'prefetch': 1}])
def test_threads_do_not_change_the_batches(table, options):
  _assert_equal(_dicts(table, **options), _dicts(table, threads=1))


def test_keeping_does_not_change_the_batches(table):
  kept = open_pixels(table, side=30).keep(threads=2)
  _assert_equal(_dicts(table, pixels=kept), _dicts(table))


def test_no_steps_give_no_batches(table):
  assert _dicts(table, first_step=4, last_step=4) == []


def test_batches_are_prepared_while_the_consumer_is_busy(table):
  made = threading.Semaphore(0)

  class Slow:
    def take(self, rows):
      made.release()
      return open_pixels(table, side=30).take(rows)

  batches = _batches(table, pixels=Slow(), prefetch=3)
  next(batches)
  # The batch that was taken, and then three more without another call of `next`.
  assert all(made.acquire(timeout=10) for _ in range(4))
  batches.close()


def test_leaving_early_stops_the_threads(table):
  def preparing():
    # Not all threads: what earlier tests left to end may start one of its own here.
    alive = threading.enumerate()
    return {thread for thread in alive if thread.name.startswith('grain-prefetch')}

  before = preparing()
  batches = _batches(table, last_step=10_000, threads=2)
  next(batches)
  started = preparing() - before
  assert len(started) == 2
  batches.close()
  for thread in started:
    thread.join(timeout=10)
    assert not thread.is_alive()


def test_a_damaged_image_reaches_the_consumer_as_it_was_raised(table):
  pixels = open_pixels(table, side=30)
  (table.image_root / '3.png').write_bytes(b'damaged')
  with pytest.raises(UserError, match=r'3\.png: expected a readable image') as raised:
    _dicts(table, pixels=pixels)
  assert type(raised.value) is UserError


def test_batch_sizes_that_cannot_work_are_refused_before_the_first_batch(table):
  with pytest.raises(UserError, match=r'at most 21, .* found 22'):
    _batches(table, batch_size=22)
  with pytest.raises(UserError, match=r'multiple of the 3 .*\.batch_size=9'):
    _batches(table, batch_size=10, process_count=3)
  with pytest.raises(UserError, match=r'multiple of the 4 .*\.batch_size=4'):
    _batches(table, batch_size=2, process_count=4)


@pytest.mark.parametrize('batch_size', [1, 3, 7, 20])
def test_evaluation_images_come_in_order_from_the_original_files(table, batch_size):
  batches = list(image_batches(table, side=SIDE, batch_size=batch_size))
  assert all(len(batch) == batch_size for batch in batches[:-1])
  expected = [
    resize_for_evaluation(read_image(table.image_root / file), side=SIDE)
    for file in table.image_files
  ]
  np.testing.assert_array_equal(np.concatenate(batches), np.stack(expected))


def test_a_damaged_evaluation_image_is_the_users_mistake(table):
  (table.image_root / '6.png').unlink()
  batches = image_batches(table, side=SIDE, batch_size=3)
  assert len(next(batches)) == 3
  with pytest.raises(UserError, match=r'6\.png'):
    list(batches)


def test_items_may_be_images_with_several_captions(table):
  batches = _dicts(table, last_step=3, captions_per_image=2, batch_size=2)
  for batch in batches:
    assert batch['rows'].shape == (2, 2)
    np.testing.assert_array_equal(batch['items'], batch['image_ids'])
    owners = table.caption_image[batch['rows']]
    np.testing.assert_array_equal(owners, batch['image_ids'][:, None].repeat(2, 1))
    assert (batch['rows'][:, 0] != batch['rows'][:, 1]).all()
  # Seven images give three whole batches of two: each at most once an epoch.
  assert len(set(np.concatenate([batch['image_ids'] for batch in batches]))) == 6


def test_images_with_several_captions_resume_and_divide_among_processes(table):
  options = {'captions_per_image': 2, 'last_step': 5}
  whole = _dicts(table, **options)
  _assert_equal(whole[2:], _dicts(table, first_step=2, **options))
  parts = [
    _dicts(table, process_index=index, process_count=2, **options) for index in range(2)
  ]
  joined = [
    {key: np.concatenate([one[key], other[key]]) for key in KEYS}
    for one, other in zip(*parts, strict=True)
  ]
  _assert_equal(whole, joined)


@pytest.fixture
def no_process_is_left():
  """Fails where a process that the test has started goes on after it."""
  before = set(multiprocessing.active_children())
  yield
  end = time.monotonic() + 30  # one that was just starting ends when it has started
  while set(multiprocessing.active_children()) - before:
    assert time.monotonic() < end, multiprocessing.active_children()
    time.sleep(0.05)


def test_workers_do_not_change_the_batches(table, no_process_is_left):
  options = {'last_step': 7, 'lengths': (5, 7)}
  expected = list(_batches(table, **options))
  found = list(_batches(table, workers=2, prefetch=1, **options))
  assert [length for _, length in found] == [length for _, length in expected]
  _assert_equal([batch for batch, _ in found], [batch for batch, _ in expected])
  assert {type(rows) for rows in found[0][0].values()} == {np.ndarray}


def test_an_error_in_a_worker_is_raised_as_it_was_and_ends_all(
  table, no_process_is_left
):
  pixels = open_pixels(table, side=30)
  (table.image_root / '3.png').write_bytes(b'damaged')
  with pytest.raises(UserError, match=r'3\.png: expected a readable image') as raised:
    _dicts(table, pixels=pixels, workers=2, last_step=10_000)
  assert type(raised.value) is UserError


def test_leaving_early_ends_the_workers(table, no_process_is_left):
  batches = _batches(table, last_step=10_000, workers=3)
  next(batches)
  assert multiprocessing.active_children()
  batches.close()


def test_too_little_shared_memory_is_told_before_the_first_batch(table, monkeypatch):
  usage = shutil.disk_usage('/')._replace(free=60_000)
  monkeypatch.setattr(workers.shutil, 'disk_usage', lambda _: usage)
  _batches(table, workers=1).close()  # five batches of 4 * 26 * 30 * 3 bytes
  with pytest.raises(UserError, match=r'0 MB free in /dev/shm.*data\.workers=0'):
    _batches(table, workers=2)


def test_an_image_comes_once_for_all_its_captions(table):
  """The same pairs; each image once, at the place that its captions name."""
  usual = _dicts(table, batch_size=8)
  most = most_distinct_images(table, seed=3, batch_size=8, last_step=12, multiple=2)
  counts = [len(np.unique(batch['image_ids'])) for batch in usual]
  assert max(counts) <= most <= 8
  assert min(counts) < most
  reused = _dicts(table, batch_size=8, n_distinct=most)
  for batch, other in zip(usual, reused, strict=True):
    for name in ('seed', 'epoch', 'rows'):
      np.testing.assert_array_equal(batch[name], other[name])
    assert other['items'].shape == (most,)
    assert set(other['items']) == set(batch['image_ids'])
    assert len(set(other['own'])) == len(set(batch['image_ids']))
    np.testing.assert_array_equal(other['items'][other['own']], batch['image_ids'])
    for name in ('images', 'sizes'):
      np.testing.assert_array_equal(other[name][other['own']], batch[name])


def test_processes_share_the_images_of_a_batch(table):
  (whole, *_), *parts = (
    _dicts(table, batch_size=8, n_distinct=6, process_index=i, process_count=n)
    for i, n in ((0, 1), (0, 2), (1, 2))
  )
  for name in ('items', 'own', 'rows', 'images'):
    joined = np.concatenate([part[0][name] for part in parts])
    np.testing.assert_array_equal(joined, whole[name])


@pytest.mark.parametrize(('multiple', 'expected'), [(1, 4), (3, 6)])
def test_places_for_images_are_counted_over_all_steps(table, multiple, expected):
  most = max(
    len({int(table.caption_image[row]) for row in rows})
    for rows in (
      batch_rows(step, n=table.n_captions, batch_size=4, seed=3) for step in range(12)
    )
  )
  assert most == 4
  about = {'seed': 3, 'batch_size': 4, 'last_step': 12}
  assert most_distinct_images(table, **about, multiple=multiple) == expected
