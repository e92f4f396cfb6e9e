"""One shard of a source into ArrayRecord: a file for each split that it has.

What is written is a pure function of the shard and the settings, on any number of
processes. A shard is whole when its folder has its final name.
"""

import concurrent.futures
import contextlib
import dataclasses
import functools
import itertools
import json
import os
import pathlib
import shutil
from collections.abc import Iterable, Iterator

from array_record.python.array_record_module import ArrayRecordWriter

from harma_jax.data.annotation_files import RESTVAL, split_of
from harma_jax.data.archives.samples import PictureBytes, Sample
from harma_jax.data.archives.shards import (
  Shard,
  read_shard,
  split_called,
  split_of_folder,
)
from harma_jax.data.builders.encode import (
  AHEAD,
  encode_image_file,
  encode_unchecked,
)
from harma_jax.data.builders.manifest import check_split_name, checksum
from harma_jax.data.builders.records import record_of
from harma_jax.data.images import MAX_PIXELS
from harma_jax.data.prepared import caption_line
from harma_jax.data.reading import AS_WRITTEN, Reading
from harma_jax.errors import UserError
from harma_jax.raster.how import DEFAULT, How

SUMMARY_FILE = 'summary.json'
# Pictures do not shrink further; each is found by its number.
OPTIONS = 'group_size:1,uncompressed'
# Captions are numbered through a shard; more than these no shard has.
CAPTIONS_PER_SHARD = 2**32


@dataclasses.dataclass(frozen=True, kw_only=True)
class Writing:
  """How shards are written.

  Attributes:
    splits: that are taken; empty for all.
    rest: the split of pictures of which nothing names one.
    checks: whether each picture is decoded, to see that it can be.
    skips: whether a picture that cannot be used is left out and counted.
    threads: pictures that are checked at once.
    max_pixels: of a picture.
    how: what the user says of bands and values.
    reading: what the user says of columns.
  """

  splits: tuple[str, ...] = ()
  rest: str = 'train'
  checks: bool = True
  skips: bool = False
  threads: int = 1
  max_pixels: int = MAX_PIXELS
  how: How = DEFAULT
  reading: Reading = AS_WRITTEN


@dataclasses.dataclass
class _Split:
  """The files of a split while they are written."""

  records: ArrayRecordWriter
  lines: object
  images: int = 0
  captions: int = 0
  n_bytes: int = 0


def write_shard(
  shard: Shard, folder: pathlib.Path, *, number: int, writing: Writing
) -> dict:
  """Writes the records of a shard, unless `folder` has them, and says what it wrote.

  Args:
    shard: of the source.
    folder: to write: of each split `SPLIT.array_record` and `SPLIT.jsonl`, with the
      names and captions of its pictures.
    number: of the shard, which orders its captions among those of others.
    writing: how.

  Returns:
    `splits`, of each the `images`, `captions`, `n_bytes` of records, and the `bytes`
    and `sha256` of its file; `skipped`, what was left out and why; `left`, the splits
    that were not asked for.

  Raises:
    UserError: the shard cannot be read, or a picture of it that is not to be skipped.
  """
  if folder.exists():
    return json.loads((folder / SUMMARY_FILE).read_text())
  new = folder.with_name(f'{folder.name}.new')
  shutil.rmtree(new, ignore_errors=True)
  new.mkdir(parents=True)
  skipped, splits, left = [], {}, set()
  with contextlib.ExitStack() as stack:
    read = read_shard(shard, reading=writing.reading)
    samples = _taken(read, shard, writing, left=left)
    for sample, content in _encoded(samples, writing=writing):
      if sample.entry.problem:
        skipped.append(_bad(sample, skips=writing.skips))
        continue
      split = sample.entry.split
      if split not in splits:
        splits[split] = _opened(new, split, stack=stack)
      _write(splits[split], sample, content, first=number * CAPTIONS_PER_SHARD)
  summary = {'splits': _described(new, splits), 'skipped': skipped}
  summary['left'] = sorted(left)
  (new / SUMMARY_FILE).write_text(json.dumps(summary))
  os.replace(new, folder)
  return summary


def _taken(
  samples: Iterable[Sample], shard: Shard, writing: Writing, *, left: set[str]
) -> Iterator[Sample]:
  """The samples of the splits that are asked for, each with its split.

  Names of others are added to `left`.
  """
  before = f'{shard.label}/' if shard.label else ''
  for sample in samples:
    if sample.entry.problem:
      yield sample
      continue
    try:
      split = _split_of(sample, shard=shard, writing=writing)
    except UserError as error:
      problem = str(error).removeprefix(f'{sample.entry.place}: ')
      yield sample._replace(entry=sample.entry._replace(problem=problem))
      continue
    if writing.splits and split not in writing.splits:
      left.add(split)
    elif split:
      entry = sample.entry._replace(split=split, image=before + sample.entry.image)
      yield Sample(entry, sample.content)


def _split_of(sample: Sample, *, shard: Shard, writing: Writing) -> str:
  """The split of a sample; '' for one that is left out."""
  name = split_of(sample.entry) or shard.split or split_of_folder(sample.entry.image)
  name = name or writing.rest
  if name == RESTVAL:
    return 'train' if writing.reading.restval else ''
  split = split_called(name)
  check_split_name(split)
  return split


def _encoded(
  samples: Iterable[Sample], *, writing: Writing
) -> Iterator[tuple[Sample, bytes]]:
  """The samples and the bytes to store; not more than `AHEAD` are held."""
  encode = functools.partial(_encode, writing=writing)
  if not writing.checks or writing.threads == 1:
    yield from map(encode, samples)
    return
  samples = iter(samples)
  with concurrent.futures.ThreadPoolExecutor(writing.threads) as pool:
    while some := list(itertools.islice(samples, AHEAD)):
      yield from pool.map(encode, some)


def _encode(sample: Sample, *, writing: Writing) -> tuple[Sample, bytes]:
  """A sample with the bytes to store, or with what is wrong with its picture."""
  if sample.entry.problem:
    return sample, b''
  encode = encode_image_file if writing.checks else encode_unchecked
  file = PictureBytes(sample.entry.place, sample.content)
  try:
    return sample, encode(file, how=writing.how, max_pixels=writing.max_pixels)
  except UserError as error:
    problem = str(error).removeprefix(f'{sample.entry.place}: ')
    return sample._replace(entry=sample.entry._replace(problem=problem)), b''


def _bad(sample: Sample, *, skips: bool) -> str:
  """What is said of a sample that cannot be used.

  Raises:
    UserError: it is not to be skipped.
  """
  said = f'{sample.entry.place}: {sample.entry.problem}'
  if not skips:
    raise UserError(f'{said} --on_bad_image=skip leaves such pictures out.')
  return said


def _opened(folder: pathlib.Path, split: str, *, stack: contextlib.ExitStack) -> _Split:
  records = ArrayRecordWriter(os.fspath(folder / f'{split}.array_record'), OPTIONS)
  stack.callback(records.close)
  lines = stack.enter_context((folder / f'{split}.jsonl').open('w'))
  return _Split(records, lines)


def _write(split: _Split, sample: Sample, content: bytes, *, first: int) -> None:
  entry, count = sample.entry, len(sample.entry.captions)
  start = first + split.captions
  record = record_of(
    image=content,
    image_file=entry.image,
    captions=entry.captions,
    rows=range(start, start + count),
  )
  split.records.write(record)
  split.lines.write(caption_line(entry.image, entry.captions))
  split.images += 1
  split.captions += count
  split.n_bytes += len(record)


def _described(folder: pathlib.Path, splits: dict[str, _Split]) -> dict[str, dict]:
  """What was written of each split, after its files are closed."""
  return {
    name: {'images': of.images, 'captions': of.captions, 'n_bytes': of.n_bytes}
    | checksum(folder / f'{name}.array_record')
    for name, of in splits.items()
  }
