"""A bar on a terminal that shows how much of some work is done."""

from collections.abc import Iterable, Iterator

from absl import logging
from rich.console import Console
from rich.progress import (
  BarColumn,
  MofNCompleteColumn,
  Progress,
  TextColumn,
  TimeRemainingColumn,
)


def show_progress(items: Iterable, *, title: str, total: int) -> Iterator:
  """Gives the items on; shows how many of `total` have passed, and the time left.

  The bar is on standard error, where that is a terminal and no one asked for quiet.
  """
  console = Console(stderr=True)
  shown = console.is_terminal and logging.level_info()
  columns = (TextColumn(title), BarColumn(), MofNCompleteColumn())
  with Progress(
    *columns, TimeRemainingColumn(), console=console, disable=not shown
  ) as bar:
    yield from bar.track(items, total=total)
