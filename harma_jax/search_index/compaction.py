"""Putting shards together, and leaving out rows that no file has any more."""

import dataclasses
import pathlib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from harma_jax.search_index.catalogue import (
  Catalogue,
  File,
  condense,
  read_catalogue,
  write_entry,
)
from harma_jax.search_index.shards import (
  Features,
  Shard,
  open_shard,
  shard_names,
  shard_path,
  write_shard,
)
from harma_jax.search_index.storage import remove_unfinished

SMALL, LARGE = 2**14, 2**16  # rows of shards that are put together, and of what results
MOST_SMALL = 8
MOST_DEAD = 0.25  # of a shard's rows
MOST_ENTRIES = 16


def tidy(folder: pathlib.Path) -> None:
  """Removes shards that no file is in, and what killed programs left.

  No other program may write meanwhile.
  """
  for path in (folder, folder / 'catalogue', folder / 'shards'):
    remove_unfinished(path)
  used = {file.shard for file in read_catalogue(folder).files.values() if file.rows}
  for name in shard_names(folder):
    if name not in used:
      shard_path(folder, name).unlink(missing_ok=True)


def compact(folder: pathlib.Path) -> int:
  """Writes small shards, and those with many dead rows, anew, and one entry of all.

  The new is there before the old goes: the index is whole at any moment. No other
  program may write meanwhile.

  Returns:
    How many shards were put together.
  """
  catalogue = read_catalogue(folder)
  inside = _inside(catalogue)
  chosen = _chosen(folder, inside)
  for names in _groups(chosen, inside):
    write_entry(folder, _merged(folder, names, inside), found=catalogue.found)
  if chosen or len(catalogue.entries) > MOST_ENTRIES:
    condense(folder, read_catalogue(folder))
  tidy(folder)
  return len(chosen)


def _inside(catalogue: Catalogue) -> dict[str, dict[str, File]]:
  """The files of each shard in the order of their rows, shards in theirs."""
  inside = {}
  rows = (item for item in catalogue.files.items() if item[1].rows)
  for name, file in sorted(rows, key=lambda item: (item[1].shard, item[1].start)):
    inside.setdefault(file.shard, {})[name] = file
  return inside


def _live(files: Mapping[str, File]) -> int:
  return sum(file.rows for file in files.values())


def _chosen(
  folder: pathlib.Path, inside: Mapping[str, Mapping[str, File]]
) -> list[str]:
  there = set(shard_names(folder))
  live = {name: _live(files) for name, files in inside.items() if name in there}
  small = [name for name, rows in live.items() if rows < SMALL]
  dead = [
    name
    for name, rows in live.items()
    if rows < (1 - MOST_DEAD) * len(open_shard(folder, name).boxes)
  ]
  return sorted({*dead, *(small if len(small) >= MOST_SMALL else ())})


def _groups(
  names: Sequence[str], inside: Mapping[str, Mapping[str, File]]
) -> Iterator[list[str]]:
  """Neighbours that together have at most `LARGE` rows, or one alone."""
  group, rows = [], 0
  for name in names:
    more = _live(inside[name])
    if group and rows + more > LARGE:
      yield group
      group, rows = [], 0
    group.append(name)
    rows += more
  if group:
    yield group


def _merged(
  folder: pathlib.Path,
  names: Sequence[str],
  inside: Mapping[str, Mapping[str, File]],
) -> dict[str, File]:
  """Writes one shard of the live rows of some; returns where its files lie now."""
  parts, moved, start = [], {}, 0
  for shard in names:
    rows = []
    for name, file in inside[shard].items():
      rows.append(np.arange(file.start, file.start + file.rows))
      moved[name] = dataclasses.replace(file, start=start)
      start += file.rows
    parts.append(_taken(open_shard(folder, shard), np.concatenate(rows)))
  written = write_shard(folder, _joined(parts))
  return {n: dataclasses.replace(file, shard=written) for n, file in moved.items()}


def _taken(shard: Shard, rows: np.ndarray) -> Shard:
  values, scale = shard.features
  features = Features(values[rows], None if scale is None else scale[rows])
  corners = None if shard.corners is None else shard.corners[rows]
  return Shard(features, shard.boxes[rows], corners)


def _joined(parts: Sequence[Shard]) -> Shard:
  features = [part.features for part in parts]
  scaled = features[0].scale is not None
  corners = None
  if any(part.corners is not None for part in parts):
    corners = np.concatenate(
      [
        np.full((len(part.boxes), 4, 2), np.nan)
        if part.corners is None
        else part.corners
        for part in parts
      ]
    )
  return Shard(
    Features(
      np.concatenate([each.values for each in features]),
      np.concatenate([each.scale for each in features]) if scaled else None,
    ),
    np.concatenate([part.boxes for part in parts]),
    corners,
  )
