"""What was found, and what was indexed, as tables for the eye."""

import collections
import math
import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from harma_jax.search_index.build import Made
from harma_jax.search_index.catalogue import File, read_catalogue
from harma_jax.search_index.query import Hit

MOST_GROUPS = 24  # ways of reading, or mistakes, that are listed

OTHERS = 'in other ways'


def print_hits(hits: Sequence[Hit]) -> None:
  """Prints a row for each hit, best first, on standard output."""
  table = Table()
  ranked = all(hit.searched for hit in hits)
  names = ['', 'cosine', *['better than'] * ranked, 'image', 'left, top, width, height']
  for name in names:
    table.add_column(name, overflow='fold')  # two may differ in their ends alone
  for number, hit in enumerate(hits, 1):
    cells = [
      str(number),
      f'{hit.similarity:.3f}',
      *([better_than(hit)] if ranked else []),
    ]
    table.add_row(*cells, Text(hit.image), ', '.join(map(str, hit.box)))
  Console().print(table)
  if hits and ranked:
    print(f'better than: so many of the {hits[0].searched:,} rows that were searched')


def better_than(hit: Hit) -> str:
  """The share of the searched rows that come after a hit, in per cent.

  Rounded down, to as many digits as tell one row from the next.
  """
  digits = max(math.ceil(math.log10(hit.searched)) - 2, 0)
  after = (hit.searched - hit.rank) * 100 * 10**digits // hit.searched
  return f'{after / 10**digits:.{digits}f} %'


def print_made(folder: str | os.PathLike, made: Made) -> None:
  """Prints what an index holds now, and what the last call has done to it."""
  catalogue = read_catalogue(pathlib.Path(folder).expanduser())
  table = Table(show_header=False)
  table.add_column()
  table.add_column(overflow='fold')
  for name, words in facts_of(catalogue.files, made, missing=catalogue.missing):
    table.add_row(name, Text(words))
  Console(width=100).print(table)
  print(f'{folder}: done; {len(made.skipped):,} images skipped')


def facts_of(
  files: Mapping[str, File], made: Made, *, missing: int
) -> Iterable[tuple[str, str]]:
  """The lines of `print_made`: what they are of, and what they say."""
  good = {name: file for name, file in files.items() if not file.error}
  yield 'this call', ', '.join(_numbers(made))
  yield 'images', f'{len(good):,}'
  yield 'rows', f'{sum(file.rows for file in good.values()):,}'
  if missing:
    yield 'not yet', f'{missing:,} images that other calls are to read'
  yield from _ways(good)
  yield from _without_place(good)
  yield from _left_out(good)
  for why, names in _grouped(
    {name: _reason(name, file.error) for name, file in files.items() if file.error}
  ):
    yield 'cannot be read', f'{_some(names)}: {why}'


def _numbers(made: Made) -> list[str]:
  return [
    f'{made.added:,} added',
    f'{made.changed:,} changed',
    f'{made.dropped:,} dropped',
    f'{len(made.skipped):,} failed',
    f'{made.unchanged:,} as they were',
  ]


def _ways(files: Mapping[str, File]) -> Iterable[tuple[str, str]]:
  """How files were read, most of them first; each scene has a stretch of its own."""
  ways = {name: _words(file.facts) for name, file in files.items() if file.facts}
  for way, names in _grouped(ways):
    found = [files[name].facts.get('stretch') for name in names]
    stretch = '' if way == OTHERS else _stretches([each for each in found if each])
    yield 'read as', f'{_some(names)} ({way}{stretch})'


def _stretches(found: Sequence[Sequence[float]]) -> str:
  """Of which values become black and white, the least and the most of some files."""
  if not found:
    return ''
  ends = []
  for values in zip(*found, strict=True):
    low, high = f'{min(values):g}', f'{max(values):g}'
    ends.append(low if low == high else f'{low} to {high}')
  return '; {} becomes black, {} white'.format(*ends)


def _without_place(files: Mapping[str, File]) -> Iterable[tuple[str, str]]:
  """Why files, or parts of them, are not on a map."""
  found = {name: file.facts.get('no_place') for name, file in files.items()}
  for why, names in _grouped({name: why for name, why in found.items() if why}):
    yield 'no place', f'{_some(names)}: {why}'


def _left_out(files: Mapping[str, File]) -> Iterable[tuple[str, str]]:
  counts = collections.Counter()
  for file in files.values():
    counts.update(file.dropped)
  for reason, boxes in counts.most_common():
    of = sum(reason in file.dropped for file in files.values())
    images = 'image' if of == 1 else 'images'
    yield 'left out', f'{boxes:,} boxes of {of:,} {images}: {reason}'
  empty = [name for name, file in files.items() if not file.rows]
  if empty:
    yield 'without a row', _some(empty)


def _grouped(words: Mapping[str, str]) -> list[tuple[str, list[str]]]:
  """Names of equal words, the most first; those of the least are put together."""
  groups = collections.defaultdict(list)
  for name, of in words.items():
    groups[of].append(name)
  ordered = sorted(groups.items(), key=lambda group: -len(group[1]))
  rest = [name for _, names in ordered[MOST_GROUPS:] for name in names]
  shown = ordered[:MOST_GROUPS]
  return [*shown, (OTHERS, rest)] if rest else shown


def _words(facts: Mapping) -> str:
  words = {name.replace('_', ' '): _value(value) for name, value in facts.items()}
  for name in ('no place', 'stretch'):  # a line of its own; numbers of the file alone
    words.pop(name, None)
  return '; '.join(f'{name}: {value}' for name, value in words.items())


def _value(value: object) -> str:
  if isinstance(value, list | tuple):
    return ' '.join(map(_value, value))
  if isinstance(value, Mapping):
    return ' '.join(f'{name} {_value(of)}' for name, of in value.items())
  return f'{value:g}' if isinstance(value, float) else str(value)


def _some(names: Sequence[str]) -> str:
  return names[0] if len(names) == 1 else f'{len(names):,} images, as {names[0]}'


def _reason(name: str, error: str) -> str:
  """An error without the path before it, so that equal ones are one line."""
  head, _, rest = error.partition(': ')
  return rest if rest and head.endswith(pathlib.PurePath(name).name) else error
