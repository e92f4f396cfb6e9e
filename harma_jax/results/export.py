"""The selected weights of a run as files of other programs, with a model card."""

import dataclasses
import functools
import json
import pathlib
from collections.abc import Callable, Mapping

from absl import logging
from ml_collections import ConfigDict

from harma_jax.building.config_file import load_config, shipped
from harma_jax.building.data import build_table
from harma_jax.building.model import build_model
from harma_jax.building.params import read_workdir
from harma_jax.data.annotations import fingerprint
from harma_jax.errors import UserError
from harma_jax.model.clip import Clip
from harma_jax.model.families import CLIP
from harma_jax.model.lora import merge_lora
from harma_jax.rundir.results import read_results
from harma_jax.rundir.workdir import (
  TOKENIZER_FOLDER,
  read_config,
  read_fingerprints,
  read_provenance,
  without_paths,
)
from harma_jax.weights.adapter import write_adapter
from harma_jax.weights.card import model_card
from harma_jax.weights.config_files import other_gelu
from harma_jax.weights.export import (
  CARD_FILE,
  check_out,
  departures,
  replacing,
  write_harma,
  write_huggingface,
  write_open_clip,
  write_remote,
)
from harma_jax.weights.formats import ADAPTERS_ALONE, FORMATS
from harma_jax.weights.onnx import write_onnx
from harma_jax.weights.peft import write_peft
from harma_jax.weights.provenance import folders_of

# For each kind of `model.adapters` the formats that can hold it.
FITTING = {
  'none': ('open_clip', 'huggingface', 'onnx'),
  'lora': ('open_clip', 'huggingface', 'onnx', 'adapter', 'peft'),
  'adaptformer': ('adapter',),
  'clip_adapter': ('adapter',),
  'harma': ('harma', 'adapter', 'huggingface-remote', 'onnx'),
}
OF_HARMA = ('harma', 'huggingface-remote', 'onnx')
FILE_SUFFIXES = ('.safetensors', '.pth')


def export(
  workdir: str | pathlib.Path,
  *,
  format: str,
  out: pathlib.Path,
  overwrite: bool,
) -> None:
  """Writes the weights of a run's best step, and a card.

  Args:
    workdir: the folder of the run.
    format: one of `FORMATS`.
    out: a file for the format `harma`, else a folder.
    overwrite: whether an earlier export may be replaced.

  Raises:
    UserError: the format is not for this run, nothing was saved in `workdir`, or `out`
      is there already.
  """
  config = read_config(workdir)
  model = build_model(config)
  check_format(format, config=config, model=model, out=out)
  card = _card_path(out, format=format)
  for path in {out, card} if format == 'harma' else {out}:
    check_out(path, overwrite=overwrite)
  params, provenance = read_workdir(workdir), read_provenance(workdir)
  params = _of_size(params, model=model)
  if config.model.adapters == 'lora' and format not in ADAPTERS_ALONE:
    params = merge_lora(params, model.adapter)
    model = dataclasses.replace(model, adapter=None)
  notes = notes_of(format, model=model)
  for sentence in notes:
    logging.warning('%s', sentence)
  text = model_card(
    name=out.name,
    format=format,
    config=_plain(config),
    defaults=_plain(load_config(str(shipped('common.py')))),
    results=read_results(workdir),
    provenance=provenance,
    counts=_counts(config, fingerprints=read_fingerprints(workdir)),
    notes=tuple(notes),
    size=model.size,
  )
  workdir = pathlib.Path(workdir).expanduser()
  write = _writers(config, provenance=provenance, workdir=workdir)[format]
  with replacing(out, overwrite=overwrite) as new:
    write(new, params, model=model)
    _card_path(new, format=format).write_text(text)


def notes_of(format: str, *, model: Clip) -> list[str]:
  """What users of a format must know, a sentence each; stands in the card too."""
  if format == 'harma':
    return departures(model)
  if format == 'open_clip' and model.size.family is not CLIP and other_gelu(model.size):
    return [
      'OpenCLIP computes another form of the GELU in the image tower of this size than '
      'the one that was trained with: its image features differ a little from those '
      'that were evaluated. The format huggingface computes what was trained.'
    ]
  return []


def _of_size(params: dict, *, model: Clip) -> dict:
  """`params` without a bias that files of the model's size have no place for."""
  if model.size.logit_bias or 'logit_bias' not in params:
    return params
  logging.info('the bias of the sigmoid loss stays out: ranks and cosines need none')
  return {name: part for name, part in params.items() if name != 'logit_bias'}


def check_format(
  format: str, *, config: ConfigDict, model: Clip, out: pathlib.Path
) -> None:
  """Raises UserError where a format is unknown, not for this run, or not for `out`."""
  if format not in FORMATS:
    raise UserError(f'--format: expected one of {", ".join(FORMATS)}; found {format}.')
  _check_fits(format, config=config, model=model)
  is_file = out.suffix in FILE_SUFFIXES
  if is_file != (format == 'harma'):
    wanted = (
      f'a file: {" or ".join(FILE_SUFFIXES)}' if format == 'harma' else 'a folder'
    )
    raise UserError(f'--out: expected {wanted} for --format={format}; found {out}.')


def _check_fits(format: str, *, config: ConfigDict, model: Clip) -> None:
  fitting = _fitting(config, model)
  if format in fitting:
    return
  fields = {
    'model.size': config.model.size,
    'model.adapters': config.model.adapters,
    'model.adapter_attention': config.model.adapter_attention,
    'optimizer.train': config.optimizer.train,
  }
  found = ', '.join(f'{name}={value}' for name, value in fields.items())
  advice = f'Set --format to one of {", ".join(fitting)}.'
  if not fitting:
    advice = 'No format can; start from its folder as it is: --config.init=WORKDIR.'
  raise UserError(
    f'--format={format}: expected a run that this format can hold; found one with '
    f'{found}. {advice}'
  )


def _fitting(config: ConfigDict, model: Clip) -> list[str]:
  """The formats that can hold a run."""
  fitting = FITTING[config.model.adapters]
  is_harma = config.model.adapters == 'harma'
  if (
    is_harma and not config.model.adapter_attention
  ):  # which no other program's HarMA does without
    fitting = [name for name in fitting if name not in OF_HARMA]
  if model.size.family is not CLIP:  # the original HarMA is a CLIP
    fitting = [name for name in fitting if name != 'harma']
  if config.optimizer.train != 'adapters':  # adapters alone would miss their backbone
    fitting = [name for name in fitting if name not in ADAPTERS_ALONE]
  return list(fitting)


def _writers(
  config: ConfigDict, *, provenance: dict, workdir: pathlib.Path
) -> dict[str, Callable]:
  """For each format a function of a path and parameters, with `model=`."""
  cleaning = {'cleaning': config.data.cleaning}
  of_text = {
    'context_length': config.data.context_length,
    'beside': [workdir / TOKENIZER_FOLDER, *folders_of(provenance)],
  }
  return {
    'harma': functools.partial(write_harma, config=_plain(config), **cleaning),
    'adapter': functools.partial(
      write_adapter, size=config.model.size, provenance=provenance, **cleaning
    ),
    'peft': functools.partial(
      write_peft, **cleaning, base=without_paths(provenance).get('init', '')
    ),
    'onnx': functools.partial(write_onnx, **cleaning, **of_text),
    'open_clip': functools.partial(
      write_open_clip, **cleaning, beside=of_text['beside']
    ),
    'huggingface': functools.partial(write_huggingface, **cleaning, **of_text),
    'huggingface-remote': functools.partial(write_remote, **cleaning, **of_text),
  }


def _counts(config: ConfigDict, *, fingerprints: Mapping[str, str]) -> dict[str, str]:
  """What each split of a run holds, where its data can still be read."""
  counts = {}
  for role in ('train', 'val', 'test'):
    split = config.data[f'{role}_split']
    if not split:
      continue
    if config.data.scenes.style:
      counts[split] = f'{config.data.scenes[role]:,} drawn scenes'
      continue
    counts[split] = _count(config, split, expected=fingerprints.get(role))
  return counts


def _count(config: ConfigDict, split: str, *, expected: str | None) -> str:
  try:
    table = build_table(config, split)
  except UserError as error:
    logging.warning('The card lacks the counts of split %s: %s', split, error)
    return 'not counted'
  if expected not in (None, fingerprint(table)):
    logging.warning(
      'The card lacks the counts of split %s: the data of %s is no longer that of the '
      'run.',
      *(split, config.data.root),
    )
    return 'not counted'
  return f'{table.n_images:,} images, {table.n_captions:,} captions'


def _card_path(out: pathlib.Path, *, format: str) -> pathlib.Path:
  return out.with_name(f'{out.name}.md') if format == 'harma' else out / CARD_FILE


def _plain(config: ConfigDict) -> dict:
  """Values as JSON has them, as those of a run's folder are."""
  return json.loads(config.to_json())
