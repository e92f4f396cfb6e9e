"""What was found as a table of comma-separated values, for spreadsheets and QGIS."""

import csv
import io
from collections.abc import Sequence

import numpy as np

from harma_jax.search_index.outlines import outline
from harma_jax.search_index.query import Hit
from harma_jax.search_index.records import COLUMNS, centre_of, record_of

# Of the middle, in degrees; and the outline as well-known text. Empty without a place.
PLACES = ('longitude', 'latitude', 'wkt')


def csv_of(hits: Sequence[Hit]) -> str:
  """All hits, best first, with a line of names above (RFC 4180)."""
  text = io.StringIO()
  table = csv.DictWriter(text, [*COLUMNS, *PLACES], restval='')
  table.writeheader()
  for rank, hit in enumerate(hits, 1):
    place = _place(hit.corners) if hit.corners else {}
    table.writerow(record_of(hit, rank=rank) | place)
  return text.getvalue()


def _place(corners: Sequence[tuple[float, float]]) -> dict[str, str]:
  [middle] = centre_of(np.array([corners]))
  values = [f'{degrees:.7f}' for degrees in middle]
  return dict(zip(PLACES, [*values, wkt_of(corners)], strict=True))


def wkt_of(corners: Sequence[tuple[float, float]]) -> str:
  """`outline` as well-known text; 7 digits of a degree are a centimetre."""
  rings = [', '.join(f'{x:.7f} {y:.7f}' for x, y in ring) for ring in outline(corners)]
  if len(rings) == 1:
    return f'POLYGON (({rings[0]}))'
  return f'MULTIPOLYGON ({", ".join(f"(({ring}))" for ring in rings)})'
