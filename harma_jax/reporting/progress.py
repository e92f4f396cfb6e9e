"""A bar on a terminal that shows how much of some work is done."""

from collections.abc import Iterable, Iterator

from rich.console import Console
from rich.progress import (
  BarColumn,
  MofNCompleteColumn,
  Progress,
  TextColumn,
  TimeRemainingColumn,
)

from harma_jax.devices.stop import put_away


def show_progress(items: Iterable, *, title: str, total: int) -> Iterator:
  """Gives the items on; shows how many of `total` have passed, and the time left.

  The bar is on standard error, where that is a terminal and no one asked for quiet.
  """
  console = Console(stderr=True)
  columns = (TextColumn(title), BarColumn(), MofNCompleteColumn())
  bar = Progress(
    *columns, TimeRemainingColumn(), console=console, disable=not console.is_interactive
  )
  with put_away(bar.stop):
    bar.start()
    yield from bar.track(items, total=total)
