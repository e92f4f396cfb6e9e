import numpy as np
import pytest

from harma_jax.data.sampler import (
  batch_rows,
  choose_captions,
  epoch_permutation,
  item_rng,
  steps_per_epoch,
)
from harma_jax.errors import UserError


def test_an_epoch_shows_every_row_once():
  order = epoch_permutation(50, seed=3, epoch=1)
  assert order.dtype == np.int64
  np.testing.assert_array_equal(np.sort(order), np.arange(50))


def test_order_is_shuffled_and_differs_by_seed_and_epoch():
  orders = [
    tuple(epoch_permutation(50, seed=seed, epoch=epoch))
    for seed in range(3)
    for epoch in range(3)
  ]
  assert len({*orders, tuple(range(50))}) == 10


def test_order_is_the_same_in_every_release():
  # A changed order would silently change resumed runs.
  order = epoch_permutation(10, seed=7, epoch=2)
  np.testing.assert_array_equal(order, [5, 9, 6, 3, 8, 7, 0, 1, 4, 2])


def test_only_whole_batches_count():
  assert steps_per_epoch(10, batch_size=3) == 3
  assert steps_per_epoch(10, batch_size=10) == 1


@pytest.mark.parametrize('batch_size', [0, 11])
def test_batch_size_outside_the_data_is_the_users_mistake(batch_size):
  with pytest.raises(UserError, match=r'at most 10, .* --config\.train\.batch_size=10'):
    steps_per_epoch(10, batch_size=batch_size)


def test_negative_seed_is_the_users_mistake():
  with pytest.raises(UserError, match='seed: expected 0 or more; found -1'):
    epoch_permutation(10, seed=-1, epoch=0)


def test_batches_walk_through_the_epochs():
  rows = [batch_rows(step, n=10, batch_size=3, seed=5) for step in range(7)]
  for epoch in (0, 1):
    walked = np.concatenate(rows[3 * epoch : 3 * epoch + 3])
    expected = epoch_permutation(10, seed=5, epoch=epoch)[:9]
    np.testing.assert_array_equal(walked, expected)
  np.testing.assert_array_equal(rows[6], epoch_permutation(10, seed=5, epoch=2)[:3])


def test_batch_rows_do_not_depend_on_what_was_asked_before():
  forward = [batch_rows(step, n=40, batch_size=4, seed=1) for step in range(100)]
  backward = [batch_rows(s, n=40, batch_size=4, seed=1) for s in reversed(range(100))]
  np.testing.assert_array_equal(forward, backward[::-1])


def test_batch_rows_cannot_be_changed_by_a_caller():
  rows = batch_rows(0, n=10, batch_size=3, seed=5)
  with pytest.raises(ValueError, match='read-only'):
    rows[0] = 0


def test_item_rng_repeats_and_differs_by_each_part_of_its_key():
  def first(**key):
    return item_rng(**key).integers(2**62)

  base = {'seed': 1, 'epoch': 2, 'row': 3}
  assert first(**base) == first(**base)
  others = [first(**{**base, name: 9}) for name in base]
  swapped = [first(seed=2, epoch=1, row=3), first(seed=1, epoch=3, row=2)]
  assert len({first(**base), *others, *swapped}) == 6


def test_item_rng_of_neighbouring_rows_is_unrelated():
  draws = np.array([item_rng(seed=0, epoch=0, row=row).random() for row in range(2000)])
  assert abs(draws.mean() - 0.5) < 0.03
  assert abs(np.corrcoef(draws[:-1], draws[1:])[0, 1]) < 0.1


def test_different_texts_are_chosen_first():
  rows, texts = np.array([10, 11, 12, 13, 14]), np.array([0, 0, 0, 1, 2])
  for seed in range(20):
    rng = np.random.default_rng(seed)
    chosen = choose_captions(rows, texts, count=3, rng=rng)
    assert set(texts[chosen - 10]) == {0, 1, 2}
    everything = choose_captions(rows, texts, count=5, rng=rng)
    assert sorted(everything) == rows.tolist()
    assert set(texts[everything[:3] - 10]) == {0, 1, 2}


def test_every_caption_is_chosen_at_some_time():
  rows, texts = np.array([4, 5, 6]), np.array([0, 0, 1])
  draws = [
    choose_captions(rows, texts, count=2, rng=np.random.default_rng(seed))
    for seed in range(40)
  ]
  assert {row for draw in draws for row in draw} == {4, 5, 6}
  assert {draw[0] for draw in draws} == {4, 5, 6}


def test_too_few_captions_are_repeated():
  chosen = choose_captions(
    np.array([7]), np.array([0]), count=3, rng=np.random.default_rng(0)
  )
  assert chosen.tolist() == [7, 7, 7]
