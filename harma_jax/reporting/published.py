"""Numbers that others published, beside those that compare with them."""

import json
import pathlib
from collections.abc import Mapping, Sequence

from harma_jax.evaluation.recall import Recall
from harma_jax.evaluation.ties import EXPECTED, part_of
from harma_jax.reporting.page import paragraph, table

PUBLISHED = pathlib.Path(__file__).with_name('published.json')
HEADER = ('published by others', 'mR, test', 'weights', 'step chosen on', 'source')

Row = tuple[str, ...]  # as `HEADER`


def published_rows(data_name: str) -> list[dict]:
  """The published numbers of a data set; none where it is another or not known."""
  published = json.loads(PUBLISHED.read_text())
  name = data_name.casefold()
  return [
    row | {'mR': row['mR'][name]} for row in published['rows'] if name in row['mR']
  ]


def own_row(name: str, recall: Recall) -> Row | None:
  """Recalls on test as a row of the published ones; None where they are not measured.

  A sort breaks ties in some order, as the published evaluations do: what compares is
  the mean over all orders.
  """
  expected = part_of(recall, EXPECTED)
  if not expected:
    return None
  return f'{name}, ties at random', f'{expected["mean_recall"]:.2f}', '', '', ''


def published_part(
  data_name: str, test_set: Mapping[str, int], *, own: Sequence[Row | None]
) -> str:
  """HTML of the published numbers, where the test split is the whole published one.

  A sentence where it is another one, and nothing where no numbers are known of the data
  set.

  Args:
    data_name: the name of the data set's folder.
    test_set: `images` and `captions` of the split; empty where they are not known.
    own: rows to set beside them; None for what is not measured.
  """
  rows = published_rows(data_name)
  if not rows:
    return ''
  whole = json.loads(PUBLISHED.read_text())['test_sets'][data_name.casefold()]
  if {**test_set} != {name: whole[name] for name in ('images', 'captions')}:
    return paragraph(_not_comparable(data_name, whole, test_set))
  found = [row for row in own if row]
  lacking = '' if found else ' There is no recall on test here to set beside them.'
  text = paragraph(
    f'Below: published by others, on the test split of {data_name.upper()}, copied '
    'from the sources and not measured here. They mix backbones, training data and '
    'ways to select the step; between seeds, 1 to 1.5 points are usual. That the data '
    'are the same is taken from the name of their folder and from the '
    f'{_words_of(whole)} of the test split ({whole["source"]}).{lacking}'
  )
  columns = ('weights', 'selection', 'source')
  others = [
    (row['method'], f'{row["mR"]:.2f}', *(row[name] for name in columns))
    for row in rows
  ]
  return text + table([*found, *others], header=HEADER)


def _not_comparable(data_name: str, whole: Mapping, found: Mapping[str, int]) -> str:
  what = (
    f'the test split here has {_words_of(found)}'
    if found
    else 'how many the test split here has was not recorded: the command that trained, '
    'given again, writes it without a step'
  )
  return (
    f'No published numbers stand here. Those of {data_name.upper()} are of its whole '
    f'test split, {_words_of(whole)} ({whole["source"]}); {what}.'
  )


def _words_of(counts: Mapping) -> str:
  return f'{counts["images"]:,} images and {counts["captions"]:,} captions'
