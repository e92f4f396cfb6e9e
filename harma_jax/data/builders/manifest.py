"""The manifest of a prepared folder: what it says, and whether the folder agrees."""

import functools
import hashlib
import json
import os
import pathlib
import re
from collections.abc import Mapping

from harma_jax.data.annotations import CaptionTable, fingerprint
from harma_jax.data.prepared import (
  INCOMPLETE,
  MANIFEST_FILE,
  read_manifest,
  read_prepared,
)
from harma_jax.errors import UserError

# Images as published; of RSITMD's training images, some sources set some apart as val.
PUBLISHED = {
  'captions': {},
  'rsicd': {('train',): 8734, ('val',): 1094, ('test',): 1093},
  'rsitmd': {('train', 'val'): 4291, ('test',): 452},
}
CAPTIONS_PER_IMAGE = 5


def departures(splits: Mapping[str, dict], *, dataset: str) -> list[str]:
  """What differs from the published counts; `splits` as in the manifest."""
  found = []
  for names, published in PUBLISHED[dataset].items():
    count = sum(splits[name]['images'] for name in names if name in splits)
    if count != published:
      found.append(
        f'{dataset}: expected {published:,} images of {" and ".join(names)}, as '
        f'published; found {count:,}. Recalls do not compare with published ones.'
      )
  for name, split in splits.items():
    five = split['images'] * CAPTIONS_PER_IMAGE
    if PUBLISHED[dataset] and split['captions'] != five:
      found.append(
        f'{dataset}: expected {five:,} captions of {name}, five an image, as '
        f'published; found {split["captions"]:,}.'
      )
  return found


def verify(out: pathlib.Path) -> None:
  """Compares every file, count and caption of a finished folder with its manifest.

  Raises:
    UserError: one differs or is missing; names it.
  """
  manifest = read_manifest(out)
  for name, expected in manifest['files'].items():
    found = checksum(out / name) if (out / name).is_file() else 'no file'
    if found != expected:
      raise UserError(
        f'{out / name}: expected {say(expected)}, as {MANIFEST_FILE} has it; found '
        f'{say(found)}. The file is damaged: copy it anew, or remove the folder and '
        'prepare it again.'
      )
  for split, expected in manifest['splits'].items():
    found = counts(read_prepared(out, split=split))
    if any(expected[key] != value for key, value in found.items()):
      raise UserError(
        f'{out}: expected split {split!r} to hold {say(expected)}, as {MANIFEST_FILE} '
        f'has it; found {say(found)}. Remove the folder and prepare it again.'
      )


def check_unused(out: pathlib.Path) -> None:
  """An `out` without a manifest must be new, or be left by a call that was stopped."""
  try:
    out.mkdir(parents=True, exist_ok=True)
    names = [path.name for path in out.iterdir()]
  except OSError as error:
    raise UserError(
      f'{out}: expected a folder that can be written; {error.strerror}. Choose another '
      '--out.'
    ) from error
  if names and INCOMPLETE not in names:
    raise UserError(
      f'{out}: expected a new folder, or one that prepare has begun; found '
      f'{", ".join(sorted(names)[:5])}. Choose another --out.'
    )


def write_manifest(
  out: pathlib.Path, manifest: dict, *, known: Mapping[str, dict] | None = None
) -> None:
  """Writes what makes a folder a finished one; `known` are checksums of its files."""
  files = sorted(path for path in out.iterdir() if path.is_file())
  checksums = {
    path.name: (known or {}).get(path.name) or checksum(path) for path in files
  }
  new = out / INCOMPLETE / MANIFEST_FILE
  new.write_text(json.dumps(manifest | {'files': checksums}, indent=2) + '\n')
  os.replace(new, out / MANIFEST_FILE)


@functools.cache
def check_split_name(split: str) -> None:
  """Raises UserError where TFDS could not call a split so."""
  if not re.fullmatch(r'\w+', split):
    raise UserError(
      f'Expected splits whose names are of letters, digits and _, as TFDS needs them; '
      f'found {split!r}. Rename it in the annotations, or choose others with --splits.'
    )


def counts(table: CaptionTable) -> dict:
  """What the manifest has of the table of a split."""
  return {
    'images': table.n_images,
    'captions': table.n_captions,
    'fingerprint': fingerprint(table),
  }


def checksum(path: pathlib.Path) -> dict:
  """The `bytes` and the `sha256` of a file."""
  with path.open('rb') as file:
    digest = hashlib.file_digest(file, 'sha256').hexdigest()
  return {'bytes': path.stat().st_size, 'sha256': digest}


def say(found: dict | str) -> str:
  """What was found, for a message."""
  if isinstance(found, str):
    return found
  return ', '.join(f'{key} {value}' for key, value in found.items())
