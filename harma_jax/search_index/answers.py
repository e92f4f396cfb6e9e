"""What was found of many queries, for other programs."""

import csv
import io
import json
from collections.abc import Iterator, Sequence

from harma_jax.search_index.query import Hit

COLUMNS = (
  *('query', 'rank', 'image', 'similarity', 'left', 'top', 'width', 'height'),
  *('rank_of_rows', 'rows'),
)


def json_lines_of(queries: Sequence[str], answers: Sequence[Sequence[Hit]]) -> str:
  """An object a line for each hit: `COLUMNS`, and `corners` where they are known."""
  lines = []
  for record, hit in _records(queries, answers):
    place = {'corners': hit.corners} if hit.corners else {}
    lines.append(json.dumps(record | place) + '\n')
  return ''.join(lines)


def csv_of_answers(queries: Sequence[str], answers: Sequence[Sequence[Hit]]) -> str:
  """A line for each hit, with a line of names above (RFC 4180)."""
  text = io.StringIO()
  table = csv.DictWriter(text, COLUMNS)
  table.writeheader()
  table.writerows(record for record, _ in _records(queries, answers))
  return text.getvalue()


def _records(
  queries: Sequence[str], answers: Sequence[Sequence[Hit]]
) -> Iterator[tuple[dict, Hit]]:
  for query, hits in zip(queries, answers, strict=True):
    for rank, hit in enumerate(hits, 1):
      # A name that is no UTF-8 has marks for those bytes.
      image = hit.image.encode(errors='surrogateescape').decode(errors='replace')
      values = (query, rank, image, round(hit.similarity, 6), *hit.box)
      yield dict(zip(COLUMNS, (*values, hit.rank, hit.searched), strict=True)), hit
