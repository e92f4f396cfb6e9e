import functools
import threading

import numpy as np
import pytest
from PIL import Image

from harma_jax.data.annotations import CaptionTable
from harma_jax.data.augment import augment
from harma_jax.data.images import read_image, resize_for_evaluation
from harma_jax.data.pipeline import ImageStore, image_batches, train_batches
from harma_jax.data.sampler import batch_rows, item_rng
from harma_jax.errors import UserError

N_IMAGES, SIDE, BATCH = 7, 8, 4
AUGMENT = functools.partial(augment, side=SIDE)
KEYS = ('images', 'tokens', 'image_ids', 'rows')


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
  return np.arange(table.n_captions * 5, dtype=np.int32).reshape(-1, 5)


def _batches(table, *, store=None, **options):
  defaults = {
    'seed': 3,
    'batch_size': BATCH,
    'first_step': 0,
    'last_step': 12,
    'augment': AUGMENT,
  }
  store = store or ImageStore(table, cache=True)
  return train_batches(store, _tokens(table), **(defaults | options))


def _assert_equal(first, second):
  assert len(first) == len(second) > 0
  for a, b in zip(first, second, strict=True):
    assert set(a) == set(b) == set(KEYS)
    for key in KEYS:
      np.testing.assert_array_equal(a[key], b[key])


def _plain_batches(table, *, seed, last_step):
  """What `train_batches` must give, in one loop."""
  n, tokens = table.n_captions, _tokens(table)
  for step in range(last_step):
    rows = batch_rows(step, n=n, batch_size=BATCH, seed=seed)
    images = []
    for row in rows:
      rng = item_rng(seed=seed, epoch=step // (n // BATCH), row=int(row))
      file = table.image_files[table.caption_image[row]]
      images.append(AUGMENT(read_image(table.image_root / file), rng))
    yield {
      'images': np.stack(images),
      'tokens': np.stack([tokens[row] for row in rows]),
      'image_ids': np.array([table.caption_image[row] for row in rows]),
      'rows': rows,
    }


def test_batches_match_a_plain_loop_over_epochs(table):
  actual = list(_batches(table))
  _assert_equal(actual, list(_plain_batches(table, seed=3, last_step=12)))
  batch = actual[0]
  assert {key: (batch[key].shape, batch[key].dtype.name) for key in KEYS} == {
    'images': ((BATCH, SIDE, SIDE, 3), 'uint8'),
    'tokens': ((BATCH, 5), 'int32'),
    'image_ids': ((BATCH,), 'int32'),
    'rows': ((BATCH,), 'int64'),
  }


def test_the_same_row_is_augmented_anew_in_every_epoch(table):
  by_row = {}
  for batch in _batches(table):
    for row, image in zip(batch['rows'], batch['images'], strict=True):
      by_row.setdefault(int(row), []).append(image)
  seen_twice = [images for images in by_row.values() if len(images) > 1]
  assert seen_twice
  assert all((images[0] != images[1]).any() for images in seen_twice)


@pytest.mark.parametrize('count', [1, 2, 4])
def test_parts_of_all_processes_join_to_the_global_batch(table, count):
  whole = list(_batches(table))
  parts = [
    list(_batches(table, process_index=i, process_count=count)) for i in range(count)
  ]
  joined = [
    {key: np.concatenate([batch[key] for batch in batches]) for key in KEYS}
    for batches in zip(*parts, strict=True)
  ]
  assert len(parts[0][0]['rows']) == BATCH // count
  _assert_equal(joined, whole)


def test_a_resumed_run_gets_the_tail(table):
  _assert_equal(list(_batches(table, first_step=7)), list(_batches(table))[7:])


@pytest.mark.parametrize('options', [{'threads': 0}, {'threads': 5, 'prefetch': 1}])
def test_threads_do_not_change_the_batches(table, options):
  _assert_equal(list(_batches(table, **options)), list(_batches(table, threads=1)))


def test_the_cache_does_not_change_the_batches(table):
  uncached = ImageStore(table, cache=False)
  _assert_equal(list(_batches(table, store=uncached)), list(_batches(table)))
  assert uncached.cached_bytes == 0


def test_no_steps_give_no_batches(table):
  assert list(_batches(table, first_step=4, last_step=4)) == []


def test_batches_are_prepared_while_the_consumer_is_busy(table):
  made = threading.Semaphore(0)

  def slow(image, rng):
    made.release()
    return AUGMENT(image, rng)

  batches = _batches(table, augment=slow, prefetch=3)
  next(batches)
  # The batch that was taken, and then three more without another call of `next`.
  assert all(made.acquire(timeout=10) for _ in range(4 * BATCH))
  batches.close()


def test_leaving_early_stops_the_threads(table):
  before = set(threading.enumerate())
  batches = _batches(table, last_step=10_000, threads=2)
  next(batches)
  started = set(threading.enumerate()) - before
  assert len(started) == 2
  batches.close()
  for thread in started:
    thread.join(timeout=10)
    assert not thread.is_alive()


def test_a_damaged_image_reaches_the_consumer_as_it_was_raised(table):
  (table.image_root / '3.png').write_bytes(b'damaged')
  with pytest.raises(UserError, match=r'3\.png: expected a readable image') as raised:
    list(_batches(table))
  assert type(raised.value) is UserError


def test_batch_sizes_that_cannot_work_are_refused_before_the_first_batch(table):
  with pytest.raises(UserError, match=r'at most 21, .* found 22'):
    _batches(table, batch_size=22)
  with pytest.raises(UserError, match=r'multiple of the 3 .*\.batch_size=9'):
    _batches(table, batch_size=10, process_count=3)
  with pytest.raises(UserError, match=r'multiple of the 4 .*\.batch_size=4'):
    _batches(table, batch_size=2, process_count=4)


def test_store_decodes_an_image_once(table):
  store = ImageStore(table, cache=True)
  first = store.image(2)
  np.testing.assert_array_equal(first, read_image(table.image_root / '2.png'))
  (table.image_root / '2.png').unlink()
  np.testing.assert_array_equal(store.image(2), first)
  with pytest.raises(UserError, match=r'2\.png'):
    store.original(2)


def test_store_counts_the_memory_it_keeps(table):
  store = ImageStore(table, cache=True)
  assert store.cached_bytes == 0
  store.image(0)
  store.image(1)
  store.image(1)
  assert store.cached_bytes == 3 * 30 * (20 + 21)


def test_cache_side_shrinks_larger_images_and_keeps_their_aspect(table):
  store = ImageStore(table, cache=True, cache_side=10)
  assert store.image(0).size == (15, 10)
  assert store.original(0).size == (30, 20)
  expected = read_image(table.image_root / '0.png')
  expected = expected.resize((15, 10), Image.Resampling.BICUBIC)
  np.testing.assert_array_equal(store.image(0), expected)
  large = ImageStore(table, cache=True, cache_side=21)
  assert [large.image(row).size for row in (0, 1, 6)] == [(30, 20), (30, 21), (24, 21)]


def test_a_store_serves_many_threads(table):
  store = ImageStore(table, cache=True)
  expected = [np.asarray(store.original(row)) for row in range(N_IMAGES)]
  wrong = []

  def ask(seed):
    for row in np.random.default_rng(seed).integers(0, N_IMAGES, 60):
      if not np.array_equal(store.image(row), expected[row]):
        wrong.append(row)

  threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(8)]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  assert wrong == []
  assert store.cached_bytes == sum(image.nbytes for image in expected)


@pytest.mark.parametrize('batch_size', [1, 3, 7, 20])
def test_evaluation_images_come_in_order_from_the_original_files(table, batch_size):
  store = ImageStore(table, cache=True, cache_side=4)
  store.image(0)
  batches = list(image_batches(store, side=SIDE, batch_size=batch_size))
  assert all(len(batch) == batch_size for batch in batches[:-1])
  expected = [
    resize_for_evaluation(read_image(table.image_root / file), side=SIDE)
    for file in table.image_files
  ]
  np.testing.assert_array_equal(np.concatenate(batches), np.stack(expected))


def test_a_damaged_evaluation_image_is_the_users_mistake(table):
  (table.image_root / '6.png').unlink()
  batches = image_batches(ImageStore(table, cache=False), side=SIDE, batch_size=3)
  assert len(next(batches)) == 3
  with pytest.raises(UserError, match=r'6\.png'):
    list(batches)


def test_items_may_be_images_with_several_captions(table):
  tokens = _tokens(table)
  batches = list(_batches(table, last_step=3, captions_per_image=2, batch_size=2))
  for batch in batches:
    assert batch['rows'].shape == (2, 2)
    np.testing.assert_array_equal(batch['tokens'], tokens[batch['rows']])
    owners = table.caption_image[batch['rows']]
    np.testing.assert_array_equal(owners, batch['image_ids'][:, None].repeat(2, 1))
    assert (batch['rows'][:, 0] != batch['rows'][:, 1]).all()
  # Seven images give three whole batches of two: each at most once an epoch.
  assert len(set(np.concatenate([batch['image_ids'] for batch in batches]))) == 6


def test_images_with_several_captions_resume_and_divide_among_processes(table):
  options = {'captions_per_image': 2, 'last_step': 5}
  whole = list(_batches(table, **options))
  _assert_equal(whole[2:], list(_batches(table, first_step=2, **options)))
  parts = [
    list(_batches(table, process_index=index, process_count=2, **options))
    for index in range(2)
  ]
  joined = [
    {key: np.concatenate([one[key], other[key]]) for key in KEYS}
    for one, other in zip(*parts, strict=True)
  ]
  _assert_equal(whole, joined)
