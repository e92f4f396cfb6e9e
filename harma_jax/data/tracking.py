"""How work that takes long lets others see how far it is."""

from collections.abc import Callable, Iterable

# `track(items, title=, total=)` gives the items on and shows how many have passed.
Track = Callable[..., Iterable]


def untracked(items: Iterable, *, title: str, total: int) -> Iterable:
  """Shows no progress."""
  del title, total
  return items
