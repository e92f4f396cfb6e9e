"""Where the weights of a run come from: a record for `provenance.json`."""

import pathlib
import re
from collections.abc import Mapping

from absl import logging

from harma_jax.model.clip import Clip
from harma_jax.weights.load import adapters_of
from harma_jax.weights.recognise import shown_by
from harma_jax.weights.sources import Source, sha256

# What users of published weights should know, by a pattern of their name.
NOTES = {
  r'RET[-_]?2(?!\d)': (
    'GeoRSCLIP RET-2 was tuned on RSICD and RSITMD: its results on them are not '
    'zero-shot, and what is tuned from it has seen them before.'
  ),
  r'RemoteCLIP': (
    'RemoteCLIP was trained on RSICD, RSITMD and UCM among others (arXiv 2306.11029): '
    'its results on them are not zero-shot.'
  ),
}


def provenance(source: Source, *, init: str, model: Clip) -> dict:
  """What was loaded: path or id, hash, format, what was matched, activation, notes.

  Args:
    source: the opened weights.
    init: what the user called them.
    model: what they were loaded into.
  """
  named = f'{init} {source.path.name}'
  notes = [note for name, note in NOTES.items() if re.search(name, named, re.I)]
  for note in notes:
    logging.warning('%s: %s', init, note)
  return {
    'init': init,
    'file': str(source.path.absolute()),
    'sha256': sha256(source.path),
    'format': source.format,
    'matched': {
      'tensors': len(source.tensors),
      'adapters': adapters_of(source, model=model),
      'positions': _positions(source, model),
    },
    'activation': model.size.activation,
    'activation_known_from': source.told_by or 'config.model.size',
    'notes': notes,
  }


def folders_of(record: Mapping) -> list[pathlib.Path]:
  """The folder of the weights that a run, or the run before it, started from."""
  while 'run' in record:
    record = record['run']
  return [pathlib.Path(record['file']).parent] if 'file' in record else []


def _positions(source: Source, model: Clip) -> str:
  old, new = shown_by(source)['pixels'], model.size.image_size
  return f'of {old} px' + (f', interpolated to {new} px' if old != new else '')
