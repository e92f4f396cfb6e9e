"""Prepares a data set out of archives, shard by shard, on several processes.

While it is made, the folder holds `incomplete/`, with a folder for each shard that is
done: a call that was stopped goes on after those. In the end their files lie side by
side as one TFDS data set, with the captions of each split in a file of their own;
`manifest.json`, with the checksums, comes last. The bytes are the same however often
the work was stopped, and on however many processes.
"""

import concurrent.futures
import contextlib
import dataclasses
import functools
import json
import multiprocessing
import os
import pathlib
import shutil
from collections.abc import (
  Callable,
  Collection,
  Iterable,
  Iterator,
  Mapping,
  Sequence,
)
from concurrent.futures.process import BrokenProcessPool

import tensorflow_datasets as tfds
from absl import logging
from tensorflow_datasets.core.naming import ShardedFileTemplate

from harma_jax.data.archives.shards import Shard, find_shards
from harma_jax.data.builders.captions import Captions
from harma_jax.data.builders.manifest import (
  check_unused,
  counts,
  departures,
  verify,
  write_manifest,
)
from harma_jax.data.builders.shard_writer import SUMMARY_FILE, Writing, write_shard
from harma_jax.data.prepared import (
  INCOMPLETE,
  MANIFEST_FILE,
  captions_file,
  read_captions,
  read_manifest,
)
from harma_jax.data.processes import ends_with_parent, held_interrupts
from harma_jax.data.tracking import Track, untracked
from harma_jax.errors import UserError

SOURCE_FILE = 'source.json'
SKIPPED_FILE = 'skipped.txt'
_FORMAT = 'array_record'

# Writes one shard and says what it wrote, see `write_shard`.
Write = Callable[[], dict]


def prepare_archives(
  source: str,
  out: str | os.PathLike,
  *,
  dataset: str,
  writing: Writing,
  images: str = 'images',
  workers: int = 1,
  track: Track = untracked,
) -> dict:
  """Writes the shards of a source as one TFDS data set, or verifies what was written.

  Args:
    source: a file, a folder, a pattern or an address of the hub, see `find_shards`.
    out: folder to write; may hold what an earlier call has left.
    dataset: one of `prepare.DATASETS`.
    writing: how each shard is written.
    images: folder of pictures that tables only name, relative to the source.
    workers: processes, each at a shard of its own.
    track: shows the progress, see `untracked`.

  Returns:
    The manifest, as of `prepare`; in place of an annotation file it has `source`, the
    shards and how they were read, and `skipped`, how many pictures were left out.

  Raises:
    UserError: a shard or a picture cannot be read, `out` is in other use or is made
      from another source, or a file of `out` is damaged.
  """
  out = pathlib.Path(out).expanduser()
  shards = find_shards(source, images=images)
  _check_asked(shards, writing=writing)
  described = {'dataset': dataset, 'source': _described(shards, writing=writing)}
  if (out / MANIFEST_FILE).exists():
    logging.info('%s is finished already: it is verified', out)
    _check_same(read_manifest(out), described, where=out)
    verify(out)
  else:
    check_unused(out)
    _begin(out, described)
    writes = [
      functools.partial(
        write_shard, shard, _folder(out, number), number=number, writing=writing
      )
      for number, shard in enumerate(shards)
    ]
    _write_all(writes, workers=workers, track=track)
    _finish(out, described, n_shards=len(shards), asked=writing.splits)
  shutil.rmtree(out / INCOMPLETE, ignore_errors=True)
  return read_manifest(out)


def _check_asked(shards: Sequence[Shard], *, writing: Writing) -> None:
  """Tells of a split that no shard can have before any is read."""
  named = {shard.split for shard in shards}
  missing = [split for split in writing.splits if split not in named]
  if missing and '' not in named and shards[0].kind == 'tar':
    raise _no_split(missing[0], found=named)


def _no_split(split: str, *, found: Iterable[str]) -> UserError:
  names = ', '.join(sorted(filter(None, found))) or 'none'
  return UserError(
    f'--splits: expected splits that the source has; found no {split!r}, only {names}. '
    'Ask for these; --rest=NAME says what pictures belong to of which neither a column '
    'nor the name of a shard or folder tells it.'
  )


def _described(shards: Sequence[Shard], *, writing: Writing) -> dict:
  """What the records are made from: two folders of the same are made of the same."""
  settings = dataclasses.asdict(writing) | {'how': writing.how._asdict()}
  del settings['threads']  # it changes nothing
  listed = [[shard.label or shard.path.name, shard.n_bytes] for shard in shards]
  return json.loads(json.dumps({'shards': listed, 'settings': settings}))


def _check_same(found: Mapping, expected: Mapping, *, where: pathlib.Path) -> None:
  """Checks what a folder was made of; what is whole serves those who skip, too."""
  if _skips(found) is False:
    settings = expected['source']['settings'] | {'skips': False}
    expected = expected | {'source': expected['source'] | {'settings': settings}}
  for name in ('dataset', 'source'):
    if found.get(name) != expected[name]:
      raise UserError(
        f'{where}: expected what was prepared from this source with these flags; found '
        f'another {name}: {_difference(found.get(name), expected[name])}. Choose '
        'another --out, or remove the folder.'
      )


def _skips(described: Mapping) -> bool | None:
  """Whether what is described was made so; None where nothing says it."""
  return described.get('source', {}).get('settings', {}).get('skips')


def _difference(found: object, expected: object) -> str:
  """The first thing that differs, in few words."""
  if isinstance(found, dict) and isinstance(expected, dict):
    odd = next(key for key in expected if found.get(key) != expected[key])
    return f'{odd} {_difference(found.get(odd), expected[odd])}'
  if isinstance(found, list) and isinstance(expected, list):
    if len(found) != len(expected):
      return f'{len(found):,} and not {len(expected):,}'
    pairs = zip(found, expected, strict=True)
    found, expected = next((old, new) for old, new in pairs if old != new)
  return f'{found!r} and not {expected!r}'


def _begin(out: pathlib.Path, described: Mapping) -> None:
  """Notes what is being prepared, or checks that it goes on with the same."""
  note = out / INCOMPLETE / SOURCE_FILE
  shards = described['source']['shards']
  done = {number for number in range(len(shards)) if _folder(out, number).exists()}
  if note.exists() and done:
    found = json.loads(note.read_text())
    _check_same(_as_far_as(done, found, shards=shards), described, where=out)
  note.parent.mkdir(exist_ok=True)
  new = note.with_suffix('.new')
  new.write_text(json.dumps(described))
  os.replace(new, note)


def _as_far_as(done: Collection[int], found: dict, *, shards: Sequence) -> dict:
  """`found` but for shards that are not done: they may have been copied anew."""
  old = found['source']['shards']
  if len(old) != len(shards):
    return found
  pairs = enumerate(zip(old, shards, strict=True))
  now = [before if number in done else after for number, (before, after) in pairs]
  return found | {'source': found['source'] | {'shards': now}}


def _folder(out: pathlib.Path, number: int) -> pathlib.Path:
  return out / INCOMPLETE / f'shard-{number:05d}'


def _write_all(writes: Sequence[Write], *, workers: int, track: Track) -> None:
  """Writes all shards; those that are done are passed by."""
  count = len(writes)
  with _called(writes, workers=min(workers, count)) as summaries:
    for _ in track(summaries, title='shards', total=count):
      pass


@contextlib.contextmanager
def _called(writes: Sequence[Write], *, workers: int) -> Iterator[Iterator[dict]]:
  """What all `writes` give, in order; by so many processes."""
  if workers <= 1:
    yield (write() for write in writes)
    return
  with concurrent.futures.ProcessPoolExecutor(
    workers, mp_context=_context(), initializer=ends_with_parent
  ) as pool:
    try:
      with held_interrupts():
        futures = list(map(pool.submit, writes))
      yield (future.result() for future in futures)
    except BrokenProcessPool as error:
      raise UserError(
        f'--workers: expected {workers} processes that live until they are done; found '
        'that one was ended, as the system does where memory runs out. The same '
        'command with fewer of them goes on.'
      ) from error
    except BaseException:
      pool.shutdown(wait=False, cancel_futures=True)
      for process in multiprocessing.active_children():
        process.terminate()
      raise


def _context() -> multiprocessing.context.BaseContext:
  """How processes are started: this one has threads and locks, which do not fork.

  They are forked from a new one that has imported `shard_writer.py`, which imports
  neither jax nor tensorflow_datasets; each imports it anew where there is no fork.
  """
  if 'forkserver' not in multiprocessing.get_all_start_methods():
    return multiprocessing.get_context('spawn')
  context = multiprocessing.get_context('forkserver')
  context.set_forkserver_preload([write_shard.__module__, ends_with_parent.__module__])
  return context


def _finish(
  out: pathlib.Path, described: Mapping, *, n_shards: int, asked: Sequence[str]
) -> None:
  """Puts the shards side by side; may be done again after it was stopped."""
  summaries = [
    json.loads((_folder(out, number) / SUMMARY_FILE).read_text())
    for number in range(n_shards)
  ]
  splits = _splits_of(summaries, asked=asked)
  known, infos = {}, []
  for split in splits:
    numbers = [n for n, summary in enumerate(summaries) if split in summary['splits']]
    info = _split_info(out, split, [summaries[n]['splits'][split] for n in numbers])
    for number, path in zip(numbers, map(pathlib.Path, info.filepaths), strict=True):
      _move(_folder(out, number) / f'{split}.array_record', path)
      of_split = summaries[number]['splits'][split]
      known[path.name] = {key: of_split[key] for key in ('bytes', 'sha256')}
    _join_lines(out, split, numbers)
    infos.append(info)
  _write_info(out, infos, dataset=described['dataset'])
  skipped = [line for summary in summaries for line in summary['skipped']]
  if skipped:
    (out / SKIPPED_FILE).write_text('\n'.join(skipped) + '\n')
  tables = {split: counts(read_captions(out, split=split)) for split in splits}
  for departure in departures(tables, dataset=described['dataset']):
    logging.warning('%s', departure)
  manifest = {**described, 'splits': tables, 'skipped': len(skipped)}
  write_manifest(out, manifest, known=known)


def _splits_of(summaries: Sequence[Mapping], *, asked: Sequence[str]) -> list[str]:
  """The splits that were found: train, val, test first.

  Raises:
    UserError: one that is asked for was not, or none at all.
  """
  found = {split for summary in summaries for split in summary['splits']}
  missing = [split for split in asked if split not in found]
  if missing:
    left = (summary.get('left', ()) for summary in summaries)
    raise _no_split(missing[0], found=found.union(*left))
  if not found:
    skipped = [line for summary in summaries for line in summary['skipped']]
    first = f', the first: {skipped[0]}' if skipped else ''
    raise UserError(
      f'--source: expected pictures with captions; found none in {len(summaries)} '
      f'shards; {len(skipped)} cannot be used{first}'
    )
  order = ('train', 'val', 'test')
  return [*(split for split in order if split in found), *sorted(found - {*order})]


def _split_info(
  out: pathlib.Path, split: str, parts: Sequence[Mapping]
) -> tfds.core.SplitInfo:
  template = ShardedFileTemplate(
    data_dir=out, dataset_name='captions', split=split, filetype_suffix=_FORMAT
  )
  return tfds.core.SplitInfo(
    name=split,
    shard_lengths=[part['images'] for part in parts],
    num_bytes=sum(part['n_bytes'] for part in parts),
    filename_template=template,
  )


def _move(old: pathlib.Path, new: pathlib.Path) -> None:
  if old.exists():  # else it was moved before
    os.replace(old, new)


def _join_lines(out: pathlib.Path, split: str, numbers: Sequence[int]) -> None:
  """The captions of all shards of a split in one file."""
  new = out / INCOMPLETE / captions_file(split)
  with new.open('wb') as whole:
    for number in numbers:
      with (_folder(out, number) / f'{split}.jsonl').open('rb') as part:
        shutil.copyfileobj(part, whole)
  os.replace(new, out / captions_file(split))


def _write_info(
  out: pathlib.Path, infos: Sequence[tfds.core.SplitInfo], *, dataset: str
) -> None:
  """What TFDS reads first of a folder."""
  where = {'data_dir': out / INCOMPLETE, 'file_format': _FORMAT}
  info = Captions(config=dataset, source='', splits=(), **where).info
  info.set_splits(tfds.core.splits.SplitDict(infos))
  info.write_to_directory(out)
