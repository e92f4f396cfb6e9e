"""Parts of a scene that several threads decode once each and then share."""

import collections
import threading
from collections.abc import Callable, Hashable, Iterable, Mapping
from concurrent.futures import Future


class Units:
  """The last used of what `decode(key)` gives.

  Args:
    decode: called once for each key while its result is kept, from any thread.
    most: how many results are kept beyond those that are waited for.
  """

  def __init__(self, decode: Callable[[Hashable], object], *, most: int):
    self._decode, self._most = decode, most
    self._lock = threading.Lock()
    self._kept: collections.OrderedDict[Hashable, Future] = collections.OrderedDict()

  def take(self, keys: Iterable[Hashable]) -> Mapping[Hashable, object]:
    """The results of some keys; what other threads are at is waited for last."""
    found = {}
    for key in keys:
      future, is_new = self._claim(key)
      if is_new:
        self._fill(key, future)
      found[key] = future
    return {key: future.result() for key, future in found.items()}

  def _claim(self, key: Hashable) -> tuple[Future, bool]:
    with self._lock:
      is_new = key not in self._kept
      future = self._kept.setdefault(key, Future())
      self._kept.move_to_end(key)
      old = list(self._kept)[: max(len(self._kept) - self._most, 0)]
      for other in old:
        if self._kept[other].done():
          del self._kept[other]
      return future, is_new

  def _fill(self, key: Hashable, future: Future) -> None:
    try:
      future.set_result(self._decode(key))
    except BaseException as error:
      with self._lock:
        self._kept.pop(key, None)
      future.set_exception(error)
