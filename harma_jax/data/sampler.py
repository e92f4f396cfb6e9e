"""The order of training pairs: a pure function of seed and step over the global set."""

import functools

import numpy as np

from harma_jax.errors import UserError

# Keep the streams of random numbers apart that one seed feeds.
_ORDER, _ITEM, _NOISE = 0, 1, 2


def epoch_permutation(n: int, *, seed: int, epoch: int) -> np.ndarray:
  """The order i64[n] of the rows 0..n-1 in one epoch (counted from 0).

  Raises:
    UserError: a negative seed.
  """
  return _generator(seed, _ORDER, epoch).permutation(n)


def steps_per_epoch(n: int, *, batch_size: int) -> int:
  """How many whole global batches `n` rows give; the ragged rest is dropped.

  Raises:
    UserError: a batch size below 1 or above `n`.
  """
  if not 1 <= batch_size <= n:
    raise UserError(
      f'train.batch_size: expected at least 1 and at most {n}, the number of training '
      f'captions; found {batch_size}. Set --config.train.batch_size={n} or less.'
    )
  return n // batch_size


def batch_rows(step: int, *, n: int, batch_size: int, seed: int) -> np.ndarray:
  """The global rows i64[batch_size] of training step `step` (counted from 0).

  They do not depend on the number of processes; within an epoch no row repeats.

  Raises:
    UserError: a batch size below 1 or above `n`, or a negative seed.
  """
  epoch, index = divmod(step, steps_per_epoch(n, batch_size=batch_size))
  order = _cached_permutation(n, seed=seed, epoch=epoch)
  return order[index * batch_size : (index + 1) * batch_size]


def choose_captions(
  rows: np.ndarray, texts: np.ndarray, *, count: int, rng: np.random.Generator
) -> np.ndarray:
  """Captions of one image in random order, those of different texts first.

  Args:
    rows: i64[n], the image's captions.
    texts: i64[n], equal where the texts of two captions are equal.
    count: how many; more than n repeats them.
    rng: a source of random choices.

  Returns:
    i64[count], rows.
  """
  order = rng.permutation(len(rows))
  _, first = np.unique(texts[order], return_index=True)
  again = np.setdiff1d(np.arange(len(order)), first)
  return np.resize(rows[order][np.concatenate([np.sort(first), again])], count)


def item_rng(*, seed: int, epoch: int, row: int) -> np.random.Generator:
  """The random numbers that augment `row` in `epoch`, whoever prepares it.

  Raises:
    UserError: a negative seed.
  """
  return _generator(seed, _ITEM, epoch, row)


def noise_rng(seed: int) -> np.random.Generator:
  """The random numbers that spoil captions on purpose.

  Raises:
    UserError: a negative seed.
  """
  return _generator(seed, _NOISE)


# Prefetching threads work on both sides of an epoch's border at the same time.
@functools.lru_cache(maxsize=4)
def _cached_permutation(n: int, *, seed: int, epoch: int) -> np.ndarray:
  order = epoch_permutation(n, seed=seed, epoch=epoch)
  order.setflags(write=False)  # Every caller gets this one array.
  return order


def _generator(seed: int, *key: int) -> np.random.Generator:
  if seed < 0:
    raise UserError(
      f'seed: expected 0 or more; found {seed}. Set --config.seed=0 or more.'
    )
  return np.random.Generator(
    np.random.PCG64(np.random.SeedSequence(seed, spawn_key=key))
  )
