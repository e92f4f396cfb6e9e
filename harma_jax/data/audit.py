"""What is wrong with a folder of captioned images: findings in, a report out.

An error is what training refuses, or an image that two splits list, which spoils every
score. A warning is what training accepts and scores may suffer from: the published data
sets have all kinds of it.
"""

import collections
import concurrent.futures
import functools
import hashlib
import itertools
import os
import pathlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from harma_jax.data.annotation_files import (
  RESTVAL,
  read_entries,
  require_folder,
  say_restval,
)
from harma_jax.data.caption_audit import (
  OF_CLIP,
  Captioned,
  Changes,
  Context,
  caption_changes,
  most_first,
)
from harma_jax.data.cleaning import clean_caption
from harma_jax.data.entries import (
  Entry,
  PathOf,
  make_path_of,
  parse_row,
  shorten,
  unusable_row,
)
from harma_jax.data.images import read_header, read_image
from harma_jax.data.noise import compare_pairs
from harma_jax.data.presence import Alike, find_alike, look_for
from harma_jax.data.reading import AS_WRITTEN, Reading
from harma_jax.data.source import find_splits
from harma_jax.data.tracking import Track, untracked
from harma_jax.errors import UserError
from harma_jax.raster.how import DEFAULT, How
from harma_jax.raster.limits import said

ERROR, WARNING = 'error', 'warning'
MISSING = 'no such file'
OWN_STRETCH = 'images of more than 8 bits, each stretched by itself'


class Row(NamedTuple):
  """One row of the annotations, which may lack what it should have."""

  split: str
  place: str  # `rsicd_train.json, row 3`
  image: str
  captions: tuple[str, ...]


class ImageFacts(NamedTuple):
  """What is known of an image file; `problem` is '' where it can be decoded."""

  problem: str
  sha256: str = ''
  difference_hash: int = 0
  bits: int = 8


class Finding(NamedTuple):
  """One kind of finding, with a line for each time it was found, the worst first."""

  severity: str
  what: str
  examples: tuple[str, ...]


class Summary(NamedTuple):
  """How much a split holds."""

  split: str
  file: str
  images: int
  captions: int


class Report(NamedTuple):
  """What an audit found; of the kinds of findings those that occur, errors first.

  `cleanings` says of each way of cleaning how many captions it changes, by kind.
  """

  splits: tuple[Summary, ...]
  findings: tuple[Finding, ...]
  cleanings: Mapping[str, Mapping[str, int]]

  def count(self, severity: str) -> int:
    """How many findings of a severity there are, all kinds together."""
    kinds = (kind for kind in self.findings if kind.severity == severity)
    return sum(len(kind.examples) for kind in kinds)

  def content(self) -> dict:
    """All of it, as JSON has it."""
    return {
      'splits': [split._asdict() for split in self.splits],
      'findings': [finding._asdict() for finding in self.findings],
      'cleanings': self.cleanings,
    }


def audit(
  root: str | os.PathLike,
  *,
  annotations: str = 'auto',
  images: str = 'images',
  cleaning: str = 'sound',
  threads: int = 1,
  track: Track = untracked,
  how: How = DEFAULT,
  reading: Reading = AS_WRITTEN,
  clean: str = '',
  context: Context = OF_CLIP,
) -> Report:
  """Reads all annotations of a source and decodes all its images.

  Args:
    root: folder of the data set; see `load_captions` for it, `annotations`, `images`.
    cleaning: of captions in training, one of `CLEANINGS`.
    threads: how many images are decoded at once.
    track: shows the progress, see `untracked`.
    how: what the user says of bands and values.
    reading: what the user says of columns and of the names of images.
    clean: a file of the same rows, where captions are noisy on purpose; '' for none.
    context: what the model reads of a caption.

  Raises:
    UserError: a folder or the annotations are missing, or no JSON or table.
  """
  root = pathlib.Path(root).expanduser()
  files = find_splits(root, annotations=annotations, reading=reading)
  folder = root / pathlib.Path(images).expanduser()
  rows, unusable = read_rows(files, reading=reading, root=folder)
  noise = _noise_findings(rows, clean and root / clean, reading=reading, root=folder)
  folder = require_folder(folder, field='data.images', what='the image folder')
  rows, alike = _with_names(rows, folder=folder, reading=reading)
  names = tuple(dict.fromkeys(row.image for row in rows))
  facts = inspect_images(names, folder=folder, threads=threads, track=track, how=how)
  changes = caption_changes(
    [Captioned(row.place, text) for row in rows for text in row.captions],
    context=context,
  )
  findings = [
    Finding(ERROR, 'rows that cannot be used', tuple(unusable)),
    *caption_findings(rows, cleaning=cleaning),
    *_change_findings(changes[cleaning]),
    *noise,
    *_name_findings(alike, taken=reading.match == 'name'),
    *image_findings(rows, facts),
    Finding(WARNING, OWN_STRETCH, _own_stretch(facts, how=how)),
  ]
  found = [kind for kind in findings if kind.examples]
  found.sort(key=lambda kind: kind.severity != ERROR)
  cleanings = {name: of_it.counts() for name, of_it in changes.items()}
  return Report(tuple(_summaries(rows, files)), tuple(found), cleanings)


def read_rows(
  files: Mapping[str, pathlib.Path],
  *,
  reading: Reading = AS_WRITTEN,
  root: pathlib.Path | None = None,
) -> tuple[list[Row], list[str]]:
  """The rows of all splits, and lines on those that lack an image, texts or a split.

  Args:
    files: the annotation file of each split, as `find_splits` gives them.
    reading: what the user says of columns and of the names of images.
    root: the image folder.
  """
  rows, unusable = [], []
  path_of = make_path_of(reading=reading, root=root)
  for path in dict.fromkeys(files.values()):
    named = [split for split, file in files.items() if file == path]
    entries = list(read_entries(path, reading=reading))
    restval = sum(entry.split == RESTVAL for entry in entries)
    say_restval(restval * reading.restval, path=path)
    by_field = any(entry.split is not None for entry in entries)
    for entry in entries:
      split = entry.split if by_field else named[0]
      place = entry.place.removeprefix(f'{path.parent}{os.sep}')
      entry = entry._replace(place=place, split=split)
      try:
        rows.append(_read_row(entry, path_of=path_of, restval=reading.restval))
      except (UserError, UnicodeEncodeError):
        unusable.append(f'{place}: {shorten(entry.found)}')
  return rows, unusable


def _with_names(
  rows: list[Row], *, folder: pathlib.Path, reading: Reading
) -> tuple[list[Row], dict[str, Alike]]:
  """The rows, and by name what lies under another one; taken where it may be."""
  names = list(dict.fromkeys(row.image for row in rows))
  numbered = {name: row for row, name in enumerate(names)}
  missing = [names[row] for row in look_for(numbered, root=folder).missing]
  alike = find_alike(missing, root=folder) if missing else {}
  if reading.match == 'name':
    rows = [
      row._replace(image=alike[row.image].file) if row.image in alike else row
      for row in rows
    ]
  return rows, alike


def _name_findings(alike: Mapping[str, Alike], *, taken: bool) -> list[Finding]:
  """Names that differ from those of the files, a kind of difference each."""
  kinds = collections.defaultdict(list)
  for name, (file, kind) in alike.items():
    kinds[kind].append(f'{name}: {file}')
  what = 'are taken from' if taken else 'are there; --match=name takes'
  return [
    Finding(WARNING, f'images that {what} files that differ in {kind}', tuple(lines))
    for kind, lines in sorted(kinds.items())
  ]


def _noise_findings(
  rows: Sequence[Row],
  clean: pathlib.Path | str,
  *,
  reading: Reading,
  root: pathlib.Path,
) -> list[Finding]:
  """Captions that differ from those of a clean file of the same rows."""
  if not clean:
    return []
  others, _ = read_rows({'train': clean}, reading=reading, root=root)
  split = next((row.split for row in rows), '')
  pairs, places = [], []
  for row in rows:
    if row.split == split:
      pairs += [(row.image, caption) for caption in row.captions]
      places += [row.place] * len(row.captions)
  right = [(row.image, caption) for row in others for caption in row.captions]
  try:
    moved = compare_pairs(pairs, right).moved
  except UserError as error:
    raise UserError(f'--clean={clean}: {error}') from error
  lines = [
    f'{places[row]}: {pairs[row][1]} (clean: {right[row][1]})'
    for row in np.flatnonzero(moved)
  ]
  what = f'captions other than the clean ones: {moved.mean():.2%} of {len(moved):,}'
  return [Finding(WARNING, what, tuple(lines))]


def inspect_images(
  names: Sequence[str],
  *,
  folder: pathlib.Path,
  threads: int = 1,
  track: Track = untracked,
  how: How = DEFAULT,
) -> dict[str, ImageFacts]:
  """Reads and decodes files below a folder, several at once."""
  with concurrent.futures.ThreadPoolExecutor(threads) as pool:
    inspect = functools.partial(inspect_image, folder=folder.resolve(), how=how)
    facts = pool.map(inspect, names)
    tracked = track(facts, title='images', total=len(names))
    return dict(zip(names, tracked, strict=True))


def inspect_image(name: str, *, folder: pathlib.Path, how: How = DEFAULT) -> ImageFacts:
  """Checksum and difference hash of a file below `folder`, or what is wrong with it.

  As for training, a symbolic link must not lead out of the folder, itself resolved.
  """
  path = folder / name
  try:
    if not path.resolve().is_relative_to(folder):
      return ImageFacts(f'a link to {path.resolve()}, outside of the image folder')
    content = path.read_bytes()
    image, bits = read_image(path, how=how), read_header(path).bits
  except FileNotFoundError:
    return ImageFacts(MISSING)
  except (OSError, ValueError) as error:  # ValueError: a name that no file can have
    return ImageFacts(str(error))
  except UserError as error:
    unknown = isinstance(error.__cause__, UnidentifiedImageError)
    return ImageFacts('not an image' if unknown else said(error.__cause__))
  digest = hashlib.sha256(content).hexdigest()
  return ImageFacts('', digest, difference_hash(image), bits)


def difference_hash(image: Image.Image) -> int:
  """64 bits that mostly survive a change of size or compression: a perceptual hash.

  The image becomes 9 x 8 grey pixels (Lanczos); a bit says whether a pixel is brighter
  than the one to its left, rows first, highest bit first. Images without any structure
  all get 0.

  Source: N. Krawetz, "Kind of like that", hackerfactor.com, 2013.
  """
  grey = np.asarray(image.convert('L').resize((9, 8), Image.Resampling.LANCZOS))
  brighter = grey[:, 1:] > grey[:, :-1]
  return int.from_bytes(np.packbits(brighter).tobytes(), 'big')


def image_findings(
  rows: Iterable[Row], facts: Mapping[str, ImageFacts]
) -> list[Finding]:
  """What is wrong with the images themselves, and which are the same.

  Identical are files of equal bytes; alike are others whose difference hash is equal.
  A group that reaches over several splits is told as such and not again within one.
  """
  splits = collections.defaultdict(dict)  # of each image, as an ordered set
  for row in rows:
    splits[row.image][row.split] = None
  problems = {name: facts[name].problem for name in splits}
  identical, alike = _same_images(
    [name for name in splits if not problems[name]], facts
  )
  missing = tuple(name for name, problem in problems.items() if problem == MISSING)
  unreadable = tuple(
    f'{name}: {problem}'
    for name, problem in problems.items()
    if problem not in ('', MISSING)
  )
  listed_twice = tuple(
    f'{name} ({", ".join(names)})' for name, names in splits.items() if len(names) > 1
  )
  return [
    Finding(ERROR, 'images that are missing', missing),
    Finding(ERROR, 'images that cannot be used', unreadable),
    Finding(ERROR, 'images that two splits list', listed_twice),
    *_by_reach('identical images', identical, splits),
    *_by_reach('images that look alike', alike, splits),
  ]


def caption_findings(rows: Iterable[Row], *, cleaning: str) -> list[Finding]:
  """Captions that are empty, or the same as others as training reads them, cleaned.

  A caption of several splits is told as such and not again within one.
  """
  captions = [
    (row, text, clean_caption(text, cleaning=cleaning))
    for row in rows
    for text in row.captions
  ]
  empty = (row.place for row, text, _ in captions if not text.strip())
  bare = (
    f'{row.place}: {text}'
    for row, text, clean in captions
    if text.strip() and not clean
  )
  uses = collections.defaultdict(collections.Counter)
  for row, _, clean in captions:
    if clean:
      uses[clean][row.split, row.image] += 1
  within, across = _shared_captions(uses)
  return [
    Finding(ERROR, 'captions that are empty', tuple(empty)),
    Finding(WARNING, 'captions without a word', tuple(bare)),
    Finding(WARNING, 'captions in several splits', across),
    Finding(WARNING, 'captions of several images', within),
    Finding(WARNING, 'captions repeated at an image', _repeated_captions(uses)),
  ]


def _change_findings(changes: Changes) -> list[Finding]:
  """What the cleaning of training takes from captions, beyond those without a word."""
  return [
    Finding(WARNING, 'captions that are cut', changes.cut),
    Finding(WARNING, 'captions whose words are glued', changes.glued),
    Finding(WARNING, 'captions of other words made equal', changes.equal),
  ]


def _own_stretch(facts: Mapping[str, ImageFacts], *, how: How) -> tuple[str, ...]:
  """Lines on images in which one brightness means values of its own."""
  if how.stretch not in ('auto', 'percent'):
    return ()
  deep = [name for name, found in facts.items() if found.bits > 8]
  return tuple(f'{name}: say --stretch=MIN,MAX for all' for name in deep)


def _read_row(entry: Entry, *, path_of: PathOf, restval: bool) -> Row:
  """Raises UserError or UnicodeEncodeError where `load_captions` would refuse it."""
  place, image, captions = parse_row(entry, path_of=path_of)
  split = entry.split
  if not isinstance(split, str) or not split.strip():
    raise unusable_row(place, entry.found)
  split = split.strip().lower()
  for caption in captions:
    caption.encode()
  split = 'train' if restval and split == RESTVAL else split
  return Row(split, place, image, tuple(captions))


def _summaries(
  rows: Sequence[Row], files: Mapping[str, pathlib.Path]
) -> Iterator[Summary]:
  for split, file in files.items():
    of_split = [row for row in rows if row.split == split]
    n_images = len({row.image for row in of_split})
    n_captions = sum(len(row.captions) for row in of_split)
    yield Summary(split, file.name, n_images, n_captions)


def _same_images(
  names: Sequence[str], facts: Mapping[str, ImageFacts]
) -> tuple[list[list[str]], list[list[str]]]:
  """Groups of files of equal bytes, and groups of those that look alike beyond that."""
  files = _groups((facts[name].sha256, name) for name in names)
  looks = _groups((facts[group[0]].difference_hash, group) for group in files)
  alike = [list(itertools.chain(*groups)) for groups in looks if len(groups) > 1]
  return [group for group in files if len(group) > 1], alike


def _groups(pairs: Iterable[tuple]) -> list[list]:
  """The values of each key, in order of first appearance."""
  groups = collections.defaultdict(list)
  for key, value in pairs:
    groups[key].append(value)
  return list(groups.values())


def _by_reach(
  what: str, groups: Iterable[Sequence[str]], splits: Mapping[str, Mapping]
) -> list[Finding]:
  """Tells groups of images that reach over several splits from those that do not."""
  within, across = [], []
  for group in sorted(groups, key=len, reverse=True):
    reach = {split for name in group for split in splits[name]}
    line = ' = '.join(f'{name} ({", ".join(splits[name])})' for name in group)
    (across if len(reach) > 1 else within).append(line)
  return [
    Finding(WARNING, f'groups of {what}, over several splits', tuple(across)),
    Finding(WARNING, f'groups of {what}, within a split', tuple(within)),
  ]


def _shared_captions(
  uses: Mapping[str, collections.Counter],
) -> tuple[tuple[str, ...], tuple[str, ...]]:
  """Lines on captions of several images: of one split, and of more; most first."""
  within, across = [], []
  for clean, places in uses.items():
    images = collections.Counter(split for split, _ in places)
    counts = ', '.join(f'{count:,} of {split}' for split, count in images.items())
    line = len(places), f'{counts}: "{clean}"'
    if len(images) > 1:
      across.append(line)
    elif len(places) > 1:
      within.append(line)
  return most_first(within), most_first(across)


def _repeated_captions(uses: Mapping[str, collections.Counter]) -> tuple[str, ...]:
  return most_first(
    (count, f'{count} times at {image} ({split}): "{clean}"')
    for clean, places in uses.items()
    for (split, image), count in places.items()
    if count > 1
  )
