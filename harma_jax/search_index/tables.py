"""What was found as a table for the eye."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from harma_jax.search_index.query import Hit


def print_hits(hits: Sequence[Hit]) -> None:
  """Prints a row for each hit, best first, on standard output."""
  table = Table()
  for name in ('', 'cosine', 'image', 'left, top, width, height'):
    table.add_column(name)
  for rank, hit in enumerate(hits, 1):
    box = ', '.join(map(str, hit.box))
    table.add_row(str(rank), f'{hit.similarity:.3f}', Text(hit.image), box)
  Console().print(table)
