"""Parts that are decoded once for several threads."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from harma_jax.raster.units import Units


def test_each_part_is_decoded_once_for_all_threads():
  calls, lock = [], threading.Lock()

  def decode(key):
    with lock:
      calls.append(key)
    return key * 10

  units = Units(decode, most=100)
  with ThreadPoolExecutor(8) as pool:
    found = list(pool.map(lambda _: dict(units.take(range(20))), range(50)))
  assert all(part == {key: key * 10 for key in range(20)} for part in found)
  assert sorted(calls) == list(range(20))


def test_only_the_last_used_are_kept():
  calls = []
  units = Units(lambda key: calls.append(key), most=2)
  for key in (1, 2, 1, 3, 1, 2):
    units.take([key])
  assert calls == [1, 2, 3, 2]


def test_what_failed_is_tried_again():
  results = iter([ValueError('damaged'), 5])

  def decode(_):
    found = next(results)
    if isinstance(found, Exception):
      raise found
    return found

  units = Units(decode, most=2)
  with pytest.raises(ValueError, match='damaged'):
    units.take([0])
  assert units.take([0]) == {0: 5}
