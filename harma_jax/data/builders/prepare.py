"""Prepares a data set split by split, and verifies a folder that is finished.

While it is made, the folder holds `incomplete/`, with a TFDS folder for each split that
is done: a call that was stopped is gone on with after those. In the end all shards lie
side by side as one TFDS data set; `manifest.json`, with the checksums, comes last.
That the source stays as it is in between is seen of its captions, not of its pixels.
Two calls write the same examples; the bytes of their shards may differ, since
ArrayRecord lays out its chunks from several threads.
"""

import contextlib
import functools
import io
import os
import pathlib
import shutil
from collections.abc import Callable, Mapping, Sequence

import tensorflow_datasets as tfds
from absl import logging

from harma_jax.data.annotations import CaptionTable, fingerprint, load_captions
from harma_jax.data.builders.captions import CONFIGS, Captions
from harma_jax.data.builders.manifest import (
  check_split_name,
  check_unused,
  checksum,
  counts,
  departures,
  say,
  verify,
  write_manifest,
)
from harma_jax.data.prepared import INCOMPLETE, MANIFEST_FILE, read_manifest
from harma_jax.data.reading import AS_WRITTEN, Reading
from harma_jax.data.source import find_splits
from harma_jax.data.tracking import Track, untracked
from harma_jax.errors import UserError
from harma_jax.raster.how import DEFAULT, How

DATASETS = tuple(config.name for config in CONFIGS)


def prepare(
  source: str | os.PathLike,
  out: str | os.PathLike,
  *,
  dataset: str,
  splits: Sequence[str] = (),
  annotations: str = 'auto',
  images: str = 'images',
  threads: int = 1,
  track: Track = untracked,
  how: How = DEFAULT,
  reading: Reading = AS_WRITTEN,
) -> dict:
  """Writes the splits of a source as one TFDS data set, or verifies what was written.

  Args:
    source: folder that `load_captions` reads, and so are `annotations` and `images`.
    out: folder to write; may hold what an earlier call has left.
    dataset: one of `DATASETS`; says which published counts to compare with.
    splits: their names; empty for all that `source` has.
    threads: how many images are encoded at once.
    track: shows the progress, see `untracked`.
    how: what the user says of bands and values.
    reading: what the user says of columns and of the names of images.

  Returns:
    The manifest: `dataset`; `splits`, of each how many `images` and `captions`, the
    `fingerprint` of its table, and its `annotations` file with `annotations_sha256`;
    `files`, of each `bytes` and `sha256`.

  Raises:
    UserError: the source cannot be read, `out` is in other use or holds another data
      set, or a file of `out` is damaged.
  """
  out = pathlib.Path(out).expanduser()
  tables, described = _read_source(
    source, splits=splits, annotations=annotations, images=images, reading=reading
  )
  for departure in departures(described, dataset=dataset):
    logging.warning('%s', departure)
  manifest = {'dataset': dataset, 'splits': described}
  if (out / MANIFEST_FILE).exists():
    logging.info('%s is finished already: it is verified', out)
  else:
    read = {'source': source, 'annotations': annotations, 'images': images}
    read['reading'] = reading
    writing = {'threads': threads, 'track': track, 'file_format': 'array_record'}
    check_unused(out)
    make = functools.partial(Captions, config=dataset, how=how, **read, **writing)
    _write(out, tables, make=make)
    write_manifest(out, manifest)
  _check_same(out, manifest)
  verify(out)
  shutil.rmtree(out / INCOMPLETE, ignore_errors=True)
  return read_manifest(out)


def _read_source(
  source: str | os.PathLike,
  *,
  splits: Sequence[str],
  annotations: str,
  images: str,
  reading: Reading,
) -> tuple[dict[str, CaptionTable], dict[str, dict]]:
  """The table of each split, and what the manifest says of it."""
  tables, described = {}, {}
  root = pathlib.Path(source).expanduser()
  files = find_splits(root, annotations=annotations, asked=splits, reading=reading)
  for split in splits or files:
    check_split_name(split)
    tables[split] = load_captions(
      source, split=split, annotations=annotations, images=images, reading=reading
    )
    described[split] = counts(tables[split]) | {
      'annotations': files[split].name,
      'annotations_sha256': checksum(files[split])['sha256'],
    }
  return tables, described


def _write(
  out: pathlib.Path,
  tables: Mapping[str, CaptionTable],
  *,
  make: Callable[..., Captions],
) -> None:
  """Writes the splits that are not done, then puts all together."""
  builders = {}
  for split, table in tables.items():
    # Named by the content: a split of other captions is not taken for this one.
    folder = out / INCOMPLETE / f'{split}-{fingerprint(table)[:16]}'
    builders[split] = make(splits=[split], data_dir=folder)
    if builders[split].data_path.exists():
      logging.info('%s: done already', split)
    _run(builders[split])
  whole = make(splits=tuple(tables), data_dir=out / INCOMPLETE)
  _join(out, builders, info=whole.info)


def _run(builder: Captions) -> None:
  """Writes one split, unless that is done: TFDS renames its folder when it is."""
  tfds.disable_progress_bar()
  config = tfds.download.DownloadConfig(try_download_gcs=False)
  with contextlib.redirect_stdout(io.StringIO()):  # TFDS prints what is no news here
    builder.download_and_prepare(download_config=config)


def _join(
  out: pathlib.Path,
  builders: Mapping[str, Captions],
  *,
  info: tfds.core.DatasetInfo,
) -> None:
  """Moves the shards side by side; may be done again after it was stopped."""
  splits = []
  for split, builder in builders.items():
    of_split = builder.info.splits[split]
    for path in map(pathlib.Path, of_split.filepaths):
      if path.exists():  # else it was moved before
        os.replace(path, out / path.name)
    template = of_split.filename_template.replace(data_dir=out)
    splits.append(of_split.replace(filename_template=template))
  info.set_splits(tfds.core.splits.SplitDict(splits))
  info.write_to_directory(out)


def _check_same(out: pathlib.Path, expected: dict) -> None:
  found = read_manifest(out)
  differing = [
    f'{name}: {say(found["splits"].get(name, "no such split"))}'
    for name in found['splits'].keys() | expected['splits'].keys()
    if found['splits'].get(name) != expected['splits'].get(name)
  ]
  if found['dataset'] != expected['dataset']:
    differing.append(f'dataset {found["dataset"]}')
  if differing:
    raise UserError(
      f'{out}: expected what was prepared from this source as {expected["dataset"]}; '
      f'found {"; ".join(sorted(differing))}. Choose another --out, or remove the '
      'folder.'
    )
