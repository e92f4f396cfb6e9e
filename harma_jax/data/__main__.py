"""Prepares and checks folders of captioned images.

`prepare` writes a TFDS data set of ArrayRecord, or verifies one that is finished; after
an interruption it goes on when started again. --dataset=captions is for any other than
RSICD and RSITMD. `check` reports what is wrong with a source, with exit code 1 where
there are errors. The source holds annotations in any form that training reads, and the
images; of `prepare` it may be archives too: tar shards, parquet with pictures, zip, or
KEY.jpg beside KEY.txt, as a folder, a file, a pattern or hf://datasets/OWNER/NAME.

Examples:
  harma-jax data check --source=FOLDER --out=FILE.json
  harma-jax data prepare --dataset=rsicd --source=FOLDER --out=OUT
  harma-jax data prepare --dataset=captions --source='SHARDS/*.tar' --out=OUT
"""

import functools
import os
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from absl import flags

from harma_jax import cli
from harma_jax.data.cleaning import CLEANINGS
from harma_jax.data.reading import MATCHES, Reading
from harma_jax.errors import UserError
from harma_jax.raster.how import how_of
from harma_jax.reporting.progress import show_progress

if TYPE_CHECKING:  # --help comes at once
  from harma_jax.data.caption_audit import Context

_OUT = cli.shared_flag('out')
cli.shared_flag('json')
_SOURCE = flags.DEFINE_string('source', None, 'The folder of the data set as it is.')
_DATASET = flags.DEFINE_string('dataset', None, 'rsicd, rsitmd or captions.')
_SPLITS = flags.DEFINE_list('splits', [], 'What to prepare. By default: all there are.')
_ANNOTATIONS = flags.DEFINE_string(
  'annotations', 'auto', 'A file below the source; {split} in it stands for the split.'
)
_IMAGES = cli.shared_flag('images')  # below the source
_CLEANING = flags.DEFINE_enum(
  'cleaning', 'sound', tuple(CLEANINGS), 'How training cleans captions; for check.'
)
_CONTEXT_LENGTH = flags.DEFINE_integer(
  'context_length',
  0,
  'check: tokens that the model holds. By default 77, 64 with --tokenizer.',
  lower_bound=0,
)
_TOKENIZER = flags.DEFINE_string(
  'tokenizer',
  '',
  "check: of a SigLIP, a folder or an id of the hub; by default CLIP's.",
)
_COLUMNS = flags.DEFINE_string(
  'columns', '', 'What the columns are: image=NAME,caption=NAME,split=NAME.'
)
_PREFIX = flags.DEFINE_string(
  'prefix', '', 'OLD=NEW: a leading folder of images that becomes another.'
)
_MATCH = flags.DEFINE_enum(
  'match', 'exact', MATCHES, 'name: files may differ in case, ending or folder.'
)
_RESTVAL = flags.DEFINE_bool(
  'restval', True, "Take rows of Karpathy's split restval for training data."
)
_CLEAN = flags.DEFINE_string(
  'clean', '', 'check: a file of the same rows without noise, below the source.'
)
_BANDS = cli.shared_flag('bands')
_STRETCH = cli.shared_flag('stretch')
_THREADS = flags.DEFINE_integer(
  'threads', os.cpu_count(), 'Images that are worked on at once.', lower_bound=1
)
_WORKERS = flags.DEFINE_integer(
  'workers', 1, 'prepare: processes, each at a shard of an archive.', lower_bound=1
)
_REST = flags.DEFINE_string(
  'rest', 'train', 'prepare: the split of pictures of archives where none is named.'
)
_ON_BAD_IMAGE = cli.shared_flag('on_bad_image')
_CHECK_IMAGES = flags.DEFINE_bool(
  'check_images', True, 'prepare, of archives: decode each picture to see that it can.'
)
_STRICT = flags.DEFINE_bool('strict', False, 'Let warnings, too, give exit code 1.')
_EXAMPLES = flags.DEFINE_integer(
  'examples', 3, 'How many of each finding to show.', lower_bound=1
)

FOUND = 1
MIN_LENGTH = 3  # a text of one token between two special ones

# What messages on reading annotations call by the names of training.
_SPELLINGS = {
  '--config.data.root': '--source',
  '--config.model.tokenizer': '--tokenizer',
  '--config.data.': '--',
  'data.root:': '--source:',
  'data.annotations:': '--annotations:',
  'data.images:': '--images:',
  'data.columns:': '--columns:',
  'data.prefix:': '--prefix:',
  'relative to data.root': 'relative to --source',
}


def main(argv: Sequence[str]) -> int:
  """Runs the command that the command line names."""
  commands = {'prepare': run_prepare, 'check': run_check}
  if len(argv) != 2 or argv[1] not in commands:
    raise UserError(
      f'Expected one of the commands {", ".join(commands)}; found '
      f'{" ".join(argv[1:]) or "none"}. As in: python -m harma_jax.data check '
      '--source=FOLDER'
    )
  try:
    return commands[argv[1]]()
  except UserError as error:
    raise UserError(_in_these_flags(str(error))) from error


def run_prepare() -> int:
  """Prepares what the flags say and prints what lies there then."""
  from harma_jax.data.archives.shards import names_archives
  from harma_jax.data.audit_tables import print_splits
  from harma_jax.data.builders.archives import SKIPPED_FILE
  from harma_jax.data.builders.prepare import DATASETS, prepare

  source, out = cli.given(_SOURCE, 'FOLDER'), pathlib.Path(cli.given(_OUT, 'FOLDER'))
  dataset = cli.given(_DATASET, 'DATASET')
  if dataset not in DATASETS:
    raise UserError(
      f'--dataset={dataset}: expected one of {", ".join(DATASETS)}. Take captions '
      'for a data set that has no name here.'
    )
  if names_archives(source, annotations=_ANNOTATIONS.value):
    manifest = _prepare_archives(source, out, dataset=dataset)
  else:
    manifest = prepare(source, out, dataset=dataset, splits=_SPLITS.value, **_reading())
  print_splits(manifest['splits'])
  if manifest.get('skipped'):
    print(f'left out: {manifest["skipped"]:,} pictures, see {out / SKIPPED_FILE}')
  size = sum(file['bytes'] for file in manifest['files'].values())
  print(f'{out}: {size / 1e6:,.1f} MB; checksums, counts and captions verified')
  return 0


def _prepare_archives(source: str, out: pathlib.Path, *, dataset: str) -> dict:
  """Prepares shards as the flags say."""
  from harma_jax.data.archives.shards import split_called
  from harma_jax.data.builders.archives import prepare_archives
  from harma_jax.data.builders.shard_writer import Writing

  reading = _reading()
  writing = Writing(
    splits=tuple(map(split_called, _SPLITS.value)),
    rest=split_called(_REST.value),
    checks=_CHECK_IMAGES.value,
    skips=_ON_BAD_IMAGE.value == 'skip',
    threads=max(_THREADS.value // _WORKERS.value, 1),
    how=reading['how'],
    reading=reading['reading'],
  )
  return prepare_archives(
    source,
    out,
    dataset=dataset,
    writing=writing,
    images=_IMAGES.value,
    workers=_WORKERS.value,
    track=show_progress,
  )


def run_check() -> int:
  """Prints the report, writes all of it to `--out`, and returns the exit code."""
  from harma_jax.data.archives.shards import names_archives
  from harma_jax.data.audit import ERROR, WARNING, audit
  from harma_jax.data.audit_tables import print_report

  source = cli.given(_SOURCE, 'FOLDER')
  if names_archives(source, annotations=_ANNOTATIONS.value):
    raise UserError(
      f'--source={source}: expected annotations and a folder of images; found '
      'archives, which prepare reads and checks picture by picture: harma-jax data '
      f'prepare --dataset=captions --source={source} --out=FOLDER'
    )
  further = {'clean': _CLEAN.value, 'cleaning': _CLEANING.value}
  report = audit(source, context=_context(), **further, **_reading())
  show = functools.partial(print_report, report, examples=_EXAMPLES.value)
  cli.answer(report.content(), show)
  wrong = report.count(ERROR) + _STRICT.value * report.count(WARNING)
  return FOUND if wrong else 0


def _context() -> 'Context':
  """What the model reads of a caption, as the flags say.

  Raises:
    UserError: there is no such tokenizer, or it leaves no room for a text.
  """
  from harma_jax.data.caption_audit import OF_CLIP, Context
  from harma_jax.data.tokenizer_files import VOCABULARY_FILES, open_tokenizer
  from harma_jax.weights.tokenizer_source import find_tokenizer

  told, length = _TOKENIZER.value, _CONTEXT_LENGTH.value
  if 0 < length < MIN_LENGTH:
    raise UserError(
      f'--context_length: expected {MIN_LENGTH} or more, or 0 for what is usual; found '
      f'{length}.'
    )
  if not told:
    return Context(length=length or OF_CLIP.length)
  folder = find_tokenizer(told)
  if folder is None:
    raise UserError(
      f'--tokenizer: expected a folder with one of {", ".join(VOCABULARY_FILES)}, or a '
      f'repository of the hub that has it; found {told!r}. Leave it out for CLIP.'
    )
  return Context(length=length or 64, tokenizer=open_tokenizer(folder))


def _reading() -> dict:
  """The keyword arguments that both commands share."""
  how = how_of(bands=_BANDS.value, stretch=_STRETCH.value)
  reading = Reading(
    columns=_COLUMNS.value,
    prefix=_PREFIX.value,
    match=_MATCH.value,
    restval=_RESTVAL.value,
  )
  where = {'annotations': _ANNOTATIONS.value, 'images': _IMAGES.value}
  what = {'how': how, 'reading': reading}
  return where | what | {'threads': _THREADS.value, 'track': show_progress}


def _in_these_flags(message: str) -> str:
  for theirs, ours in _SPELLINGS.items():
    message = message.replace(theirs, ours)
  return message


if __name__ == '__main__':
  cli.run(main, farewell=cli.resuming('prepare'))
