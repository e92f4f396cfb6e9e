"""Indexes a small archive of all kinds of scenes, changes it, and indexes it again.

  python -m benchmarks.archive --run=RUN [--folder=FOLDER]
    [--out=benchmarks/results/archive.md]

`RUN` is the work folder of a finished quickstart. 60 scenes of `archive_scenes` are
written and indexed by one command; then five are added, one that was broken is made
whole, five are changed and five removed, and the same command runs again. What it
printed goes to `--out`, with a line for each scene: how it was read, how far its
colours are from those that were drawn, of 255 and in the mean of all pixels and bands
(where they were stretched, after the same stretch), and where it is. Exit code 1:
something is wrong.
"""

import argparse
import contextlib
import pathlib
import sys
import tempfile
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from rasterio import Affine

from benchmarks.archive_scenes import (
  SIDE,
  UTM,
  Scene,
  bands_of,
  draw,
  make_archive,
  write_gdal,
)
from benchmarks.archive_scenes import centre_of as scene_centre
from benchmarks.commands import Printed, Program
from harma_jax.raster.scene import open_scene
from harma_jax.search_index.files import tile_boxes
from harma_jax.search_index.index import Index, open_index
from harma_jax.search_index.records import centre_of

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
TILE, STRIDE = 64, 32
COMMAND = ('--tile=64',)
LOSSLESS, LOSSY = 1.0, 8.0  # of 255: colours may be so far from what was drawn
NEAR = 0.02  # degrees, at most, from where it is

CHANGED = (
  'forms/rgb8_strips.tif',
  'bits/i16.tif',
  'bands/planet_4.tif',
  'plain/photo.jpg',
  'places/rotated.tif',
)
REMOVED = (
  'colours/grey8.tif',
  'no_data/nan.tif',
  'places/north_pole.tif',
  'plain/old.bmp',
  'broken/words.tif',
)
REPAIRED = 'broken/cut.jpg'


class Row(NamedTuple):
  """What became of a scene: its name, what it is, how it is in the index."""

  name: str
  about: str
  read: str
  pixels: str
  place: str
  is_right: bool


def main() -> None:
  """Prints the report, and writes it where `--out` says."""
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('--run', type=pathlib.Path, required=True)
  parser.add_argument('--folder', type=pathlib.Path)
  parser.add_argument('--out', type=pathlib.Path)
  options = parser.parse_args()
  with contextlib.ExitStack() as stack:
    folder = options.folder or pathlib.Path(
      stack.enter_context(tempfile.TemporaryDirectory())
    )
    folder.mkdir(parents=True, exist_ok=True)
    text, is_right = report(folder.resolve(), run=options.run.resolve())
  print(text)
  if options.out:
    options.out.write_text(text)
  sys.exit(0 if is_right else 1)


def report(folder: pathlib.Path, *, run: pathlib.Path) -> tuple[str, bool]:
  """Makes, indexes, changes and indexes again; the page, and whether all is right."""
  program = Program(run, scratch=folder, repository=REPOSITORY)
  images, out = pathlib.Path('scenes'), pathlib.Path('index')
  scenes = dict(make_archive(folder / images))
  _, first = program.index(images, *COMMAND, out=out)
  before = rows_of(open_index(folder / out), scenes, said=first)
  scenes = changed(folder / images, scenes)
  _, second = program.index(images, *COMMAND, out=out)
  index = open_index(folder / out)
  after = rows_of(index, scenes, said=second)
  program.index(images, *COMMAND, out=pathlib.Path('anew'))
  is_same = same_rows(index, open_index(folder / 'anew'))
  broken = sum(bool(scene.refused) for scene in scenes.values())
  expected = f'6 added, {len(CHANGED)} changed, {len(REMOVED)} dropped, {broken} failed'
  is_followed = [said.startswith(expected) for said in second.rows('this call')] == [
    True
  ]
  rights = [row.is_right for row in (*before, *after)] + [is_same, is_followed]
  text = markdown(
    first, before, second, after, is_same=is_same, is_followed=is_followed
  )
  return text, all(rights)


def changed(folder: pathlib.Path, scenes: Mapping[str, Scene]) -> dict[str, Scene]:
  """Adds, changes and removes files, and says what is there then."""
  found = dict(scenes)
  for name in REMOVED:
    (folder / name).unlink()
    del found[name]
  new = {
    name: _plain_scene(200 + number, about='another picture now, a GeoTIFF of 8 bits')
    for number, name in enumerate(CHANGED)
  }
  for number in range(5):
    new[f'added/{number}.tif'] = _plain_scene(300 + number, about='added')
  new[REPAIRED] = _plain_scene(400, about='whole now')
  make_archive(folder, new)
  return found | new


def _plain_scene(number: int, *, about: str) -> Scene:
  """A GeoTIFF of 8 bits, whatever the file was before."""
  colors = draw(number)
  place = {'crs': UTM, 'transform': Affine(10, 0, 500_000, 0, -10, 5_000_000 + number)}

  def write(path):
    path.unlink(missing_ok=True)
    write_gdal(path, bands_of(colors), photometric='rgb', **place)

  centre = scene_centre((3, *colors.shape[:2]), **place)
  return Scene(write=write, about=about, colors=colors, centre=centre)


def rows_of(index: Index, scenes: Mapping[str, Scene], *, said: Printed) -> list[Row]:
  """What became of each scene, in the order of their names."""
  unknown = sorted(index.files.keys() ^ scenes.keys())
  if unknown or said.code:
    raise SystemExit(f'Not in the index, or not in the archive: {unknown}\n{said}')
  return [_row(index, name, scene) for name, scene in sorted(scenes.items())]


def _row(index: Index, name: str, scene: Scene) -> Row:
  file = index.files[name]
  if file.error:
    _, _, why = file.error.partition('found: ')
    is_right = bool(scene.refused) and scene.refused in file.error and not file.rows
    return Row(name, scene.about, f'refused: {why}', '', '', is_right)
  pixels, is_seen = _compared(index.images / name, scene)
  place, is_there = _compared_place(index, name, scene)
  rows = _expected_rows(scene)
  is_right = is_seen and is_there and not scene.refused and file.rows == rows
  read = _facts(file.facts) + (
    f'; rows {file.rows}, not {rows}' if file.rows != rows else ''
  )
  return Row(name, scene.about, read, pixels, place, is_right)


def _expected_rows(scene: Scene) -> int:
  if not scene.share or scene.refused:
    return 0
  height, width = (SIDE, SIDE) if scene.colors is None else scene.colors.shape[:2]
  return len(tile_boxes(width, height, tile=TILE, stride=STRIDE))


def _compared(path: pathlib.Path, scene: Scene) -> tuple[str, bool]:
  """Colours and data of a scene as the index reads it, beside what was drawn."""
  with open_scene(path, name=str(path)) as opened:
    found, facts = opened.read((0, 0, *opened.size)), opened.facts
  share = found.share_valid()
  data = '' if share == 1 else f', {share:.0%} data'
  if scene.colors is None:
    return f'no colours{data}', share == scene.share
  colors = np.asarray(found.image(), np.float64)
  if colors.shape != scene.colors.shape:
    return f'{colors.shape}, not {scene.colors.shape}', False
  valid = np.ones(colors.shape[:2], bool) if found.valid is None else found.valid
  expected = scene.colors[valid].astype(np.float64)
  if facts.get('stretch_by', '').startswith('percentiles'):
    expected = _stretched(expected)
  apart = np.abs(colors[valid] - expected).mean()
  is_right = apart < (LOSSY if _is_lossy(path) else LOSSLESS)
  return f'{apart:.1f}{data}', is_right and abs(share - scene.share) < 0.01


def _is_lossy(path: pathlib.Path) -> bool:
  return path.suffix in ('.jpg', '.webp') or 'jpeg' in path.name or 'lab' in path.name


def _stretched(colors: np.ndarray) -> np.ndarray:
  """f64[n, 3] as documented: from the lowest 2nd to the highest 98th percentile."""
  low, high = np.percentile(colors, (2, 98), axis=0)
  return np.clip((colors - low.min()) * 255 / (high.max() - low.min()), 0, 255)


def _compared_place(index: Index, name: str, scene: Scene) -> tuple[str, bool]:
  """Where the middle of a scene's tiles is, beside where it was put."""
  mine = index.file == list(index.names).index(name)
  corners = index.corners[mine]
  corners = corners[np.isfinite(corners).all(axis=(1, 2))]
  if not len(corners):
    reason = index.files[name].facts.get('no_place', '')
    words = f'none: {reason}' if mine.any() else 'no row'
    return words, not mine.any() or (bool(reason) and scene.centre is None)
  [[longitude, latitude]] = centre_of(corners.reshape(1, -1, 2))
  if scene.centre is None:
    return f'{longitude:.2f} {latitude:.2f}, not none', False
  east, north = scene.centre
  across = abs((longitude - east + 180) % 360 - 180) * np.cos(np.radians(north))
  is_right = max(across, abs(latitude - north)) < NEAR
  return f'{longitude:.2f} {latitude:.2f}', bool(is_right)


def _facts(facts: Mapping) -> str:
  """How it was read, in a few words."""
  words = [facts['reader']]
  if 'bands' in facts:
    words.append(f'bands {" ".join(map(str, facts["bands"]))} ({facts["bands_by"]})')
  if 'stretch' in facts:
    black, white = facts['stretch']
    words.append(f'{black:.4g} to {white:.4g} ({facts["stretch_by"]})')
  if 'no_data' in facts:
    words.append(f'no data: {facts["no_data"]}')
  return ', '.join([*words, *facts.get('notes', [])])


def same_rows(one: Index, other: Index) -> bool:
  """Whether two indexes hold the same rows and features, in any order."""

  def rows(index):
    keys = [
      (index.names[file], *box)
      for file, box in zip(index.file.tolist(), index.boxes.tolist(), strict=True)
    ]
    return dict(zip(keys, index.features, strict=True))

  first, second = rows(one), rows(other)
  return first.keys() == second.keys() and all(
    np.allclose(first[key], second[key], atol=1e-5) for key in first
  )


def markdown(
  first: Printed,
  before: Sequence[Row],
  second: Printed,
  after: Sequence[Row],
  *,
  is_same: bool,
  is_followed: bool,
) -> str:
  """The page of both calls."""
  wrong = [row.name for row in (*before, *after) if not row.is_right]
  lines = [
    '# An archive of 60 scenes',
    '',
    'By `python -m benchmarks.archive`; the command is `harma-jax search index '
    f'--workdir=RUN --images=scenes --out=index {" ".join(COMMAND)}`.',
    f'Wrong: {", ".join(wrong) or "none"}.',
    '',
    '## What it printed',
    '',
    *_printed(first),
    '',
    f'## The same after {len(CHANGED)} were changed, {len(REMOVED)} removed, 5 added, '
    'and a broken one made whole',
    '',
    *_printed(second),
    '',
    'The numbers of the first line are '
    + ('those' if is_followed else 'NOT those')
    + ' of what was done; the index holds '
    + ('the same rows and features as' if is_same else 'OTHER rows or features than')
    + ' one that is made anew.',
    '',
    '## Each scene',
    '',
    *_table(before),
    '',
    'After the changes, those that are new or differ:',
    '',
    *_table([row for row in after if row not in before]),
  ]
  return '\n'.join(lines) + '\n'


def _printed(printed: Printed) -> list[str]:
  messages = printed.messages.rstrip().splitlines()
  return ['```text', *messages, *printed.out.rstrip().splitlines(), '```']


def _table(rows: Sequence[Row]) -> list[str]:
  lines = [
    '| scene | what it is | read as | colours, off by | place | right |',
    '|---|---|---|---|---|---|',
  ]
  for row in rows:
    cells = [*row[:5], 'yes' if row.is_right else 'NO']
    lines.append(f'| {" | ".join(cell.replace("|", "/") for cell in cells)} |')
  return lines


if __name__ == '__main__':
  main()
