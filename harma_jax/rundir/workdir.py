"""A run's folder: which config it belongs to, and what may change between starts."""

import contextlib
import fcntl
import json
import os
import pathlib
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence

from absl import logging
from ml_collections import ConfigDict

from harma_jax.errors import UserError
from harma_jax.rundir.more_epochs import EPOCHS, advice, asks_for_more, planned_over_all
from harma_jax.rundir.reading import read_json

CONFIG_FILE = 'config.json'
CONFLICTS_FILE = 'conflicts.jsonl'
DATA_FILE = 'data.json'
LOCK_FILE = 'lock'
METRICS_FILE = 'metrics.jsonl'
PROVENANCE_FILE = 'provenance.json'
RESULTS_FILE = 'results.json'
CHECKPOINT_FOLDER = 'checkpoints'
FROZEN_FOLDER = 'frozen'
TOKENIZER_FOLDER = 'tokenizer'  # of models that have one of their own
PRETRAIN = 'pretrain'  # the run that comes first: its folder, and its field

# What may differ in a resumed run: where things are and how fast, not what is done.
FREE = (
  *('log_every', 'checkpoint.keep', 'checkpoint.every_steps', 'mesh.fsdp'),
  *('data.threads', 'data.workers', 'data.cache', 'data.root', 'train.on_nonfinite'),
  *('train.microbatch', 'model.remat', 'model.layers'),
  'train.batch_rounding',  # what it made of batch_size is compared
  'model.tokenizer',  # whose files are compared
)

# Fields that the config of an older run lacks, as they stand by default.
LATER = {
  'model.adapter_attention': True,
  'model.lora.rank': 8,
  'model.lora.alpha': 16.0,
  'model.lora.mlp': False,
  'model.adaptformer.bottleneck': 64,
  'model.adaptformer.scale': 0.1,
  'model.clip_adapter.reduction': 4,
  'model.clip_adapter.ratio': 0.2,
  'model.attention': 'auto',
  'objective.contrastive': 'softmax',
  'model.mean': (),
  'model.std': (),
  'model.interpolation': '',
  'model.tokenizer': '',
  'objective.chunk': 8192,
  'optimizer.kind': 'adamw',
  'train.batch_rounding': 'none',
  'train.microbatch': 0,
  'train.steps_per_dispatch': 1,
  'train.on_nonfinite': 'raise',
  'data.columns': '',
  'data.prefix': '',
  'data.match': 'exact',
  'data.restval': True,
  'data.hold_out': 0.0,
  'data.cleaning': 'released',
  'data.long_texts': 'auto',
  'data.image_reuse': False,
  'data.max_pixels': 89_478_485,
  'data.bands': '',
  'data.stretch': 'auto',
  'data.on_bad_image': 'raise',
  'data.workers': 0,
  'evaluation.select_by': 'mean_recall',
  'checkpoint.keep_every': 0,
}


def default_workdir(config_path: str) -> pathlib.Path:
  """`workdir/rsitmd-clip` for `configs/rsitmd.py:clip`."""
  file, _, argument = config_path.partition(':')
  name = pathlib.Path(file).stem
  return pathlib.Path('workdir') / '-'.join([name, *filter(None, argument.split(':'))])


def is_workdir(path: str | pathlib.Path) -> bool:
  """Whether `path` is the folder of a run; models of the hub have a config.json too."""
  file = pathlib.Path(path).expanduser() / CONFIG_FILE
  return bool(str(path)) and file.is_file() and 'optimizer' in read_json(file)


def read_config(
  workdir: str | pathlib.Path, *, data_root: str | None = None
) -> ConfigDict:
  """The config of a run.

  Args:
    workdir: its folder.
    data_root: where its data set is now; default: where it was in training.

  Raises:
    UserError: `workdir` is not the folder of a run, or its config is damaged.
  """
  path = pathlib.Path(workdir).expanduser() / CONFIG_FILE
  if not path.is_file():
    raise UserError(
      f'Expected the work folder of a run, with {CONFIG_FILE}; found {workdir}.'
    )
  config = ConfigDict(_completed(read_json(path)))
  if data_root:
    config.data.root = data_root
  config.init = _moved_along(config.init, path.parent)
  return with_kept_tokenizer(config, path.parent)


def with_kept_tokenizer(config: ConfigDict, workdir: pathlib.Path) -> ConfigDict:
  """`config` with the tokenizer that a run keeps in its folder, if it keeps one."""
  kept = workdir / TOKENIZER_FOLDER
  if not kept.is_dir():
    return config
  config = config.copy_and_resolve_references()
  config.model.tokenizer = str(kept)
  return config


def _moved_along(init: str, workdir: pathlib.Path) -> str:
  """Where the pretraining of several seeds is, whose folder was moved with theirs."""
  beside = workdir.parent / PRETRAIN
  is_such = pathlib.Path(init).name == PRETRAIN and is_workdir(beside)
  return str(beside) if is_such and not is_workdir(init) else init


def _completed(config: dict) -> dict:
  """`config` with the fields of `LATER` that it lacks.

  One that only says whether there are adapters means those of HarMA.
  """
  from flax import traverse_util  # which imports jax: help has no time for it

  fields = traverse_util.flatten_dict(config, keep_empty_nodes=True, sep='.')
  adapters = fields['model.adapters']
  if isinstance(adapters, bool):
    fields['model.adapters'] = 'harma' if adapters else 'none'
  fields |= {name: value for name, value in LATER.items() if name not in fields}
  return traverse_util.unflatten_dict(fields, sep='.')


def check_workdir(
  workdir: pathlib.Path,
  config: ConfigDict,
  *,
  data: dict[str, str] | None = None,
  may_go_on: bool = True,
) -> None:
  """Checks that `workdir` holds nothing saved, or what a run with `config` saved.

  Args:
    workdir: which need not be there.
    config: of the run.
    data: a fingerprint of each split that the run reads, where they are known.
    may_go_on: whether more epochs may be asked for; not of a pretraining, from which
      another run has started.

  Raises:
    UserError: it belongs to a run with another config, the message names the values;
      or with other data.
  """
  if has_saved(workdir):
    old, new = flat(read_config(workdir)), flat(config)
    _check_same(workdir, old, new, may_go_on=may_go_on)
    if data is not None:
      _check_data(workdir, data)


def read_provenance(workdir: str | pathlib.Path) -> dict:
  """Where the weights of a run came from; empty where it says nothing."""
  return _read_if_there(workdir, PROVENANCE_FILE)


def read_fingerprints(workdir: str | pathlib.Path) -> dict[str, str]:
  """Of the splits that a run read, by role; empty where it says nothing."""
  return _read_if_there(workdir, DATA_FILE)


def _read_if_there(workdir: str | pathlib.Path, name: str) -> dict:
  path = pathlib.Path(workdir).expanduser() / name
  return read_json(path) if path.is_file() else {}


def claim(
  workdir: pathlib.Path,
  config: ConfigDict,
  *,
  data: dict[str, str],
  tokenizer: Sequence[pathlib.Path] = (),
  write: bool = True,
) -> None:
  """Makes `workdir` the folder of a run with `config`, or checks that it is.

  Args:
    workdir: new, or of an earlier start.
    config: of the run.
    data: a fingerprint of each split that the run reads, and of its tokenizer.
    tokenizer: files that the folder keeps; it has them already, or gets a copy.
    write: only the first of several processes does.

  Raises:
    UserError: it belongs to a run with another config or other data, or cannot be
      written.
  """
  check_workdir(workdir, config, data=data)
  if not write:
    return
  with writing(workdir):
    workdir.mkdir(parents=True, exist_ok=True)
    if is_workdir(workdir) and asks_for_more(flat(read_config(workdir)), flat(config)):
      (workdir / RESULTS_FILE).unlink(missing_ok=True)  # those of fewer epochs
    _keep(tokenizer, folder=workdir / TOKENIZER_FOLDER)
  replace_text(workdir / DATA_FILE, json.dumps(data, indent=2) + '\n')
  replace_text(workdir / CONFIG_FILE, config.to_json(indent=2) + '\n')


def _keep(files: Sequence[pathlib.Path], *, folder: pathlib.Path) -> None:
  """Makes `folder` hold copies of the files alone; there is none without files."""
  if any(file.parent.resolve() == folder.resolve() for file in files):
    return
  if folder.is_dir():
    shutil.rmtree(folder)
  if files:
    new = folder.with_name(f'{folder.name}.new')
    shutil.rmtree(new, ignore_errors=True)  # of a start that was cut short
    new.mkdir()
    for file in files:
      shutil.copyfile(file, new / file.name)
    new.rename(folder)


@contextlib.contextmanager
def held(workdir: pathlib.Path, *, hold: bool = True) -> Iterator[None]:
  """Keeps other starts out of `workdir` until this process leaves, however it ends.

  Args:
    workdir: a folder that is there.
    hold: only the first of several processes does.

  Raises:
    UserError: another process is in it, or it cannot be written.
  """
  if not hold:
    yield
    return
  with writing(workdir):
    file = (workdir / LOCK_FILE).open('a')
  with file:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
      raise UserError(
        f'Expected a work folder that no other process trains in; found {workdir} in '
        'use. Wait until that run ends, stop it, or give another --workdir.'
      ) from error
    except OSError as error:
      logging.warning('%s cannot be locked: %s; start no second run', workdir, error)
    yield


@contextlib.contextmanager
def writing(folder: pathlib.Path) -> Iterator[None]:
  """Makes one message of what the disk refuses inside.

  Raises:
    UserError: `folder` cannot be written; names the cause.
  """
  try:
    yield
  except (OSError, ValueError) as error:
    cause = _refusal(error)
    if cause is None:
      raise
    raise UserError(
      f'Expected a work folder that can be written; found {folder}: {cause}. Give it '
      'space and permission and start again, which resumes from the last saved step; '
      'or give another --workdir.'
    ) from error


def _refusal(error: OSError | ValueError) -> str | None:
  """What the system said; tensorstore, which writes arrays, makes it a ValueError."""
  if isinstance(error, OSError):
    return error.strerror or str(error)
  number = re.search(r"os_error_code='(\d+)'", str(error))
  return os.strerror(int(number[1])) if number else None


def replace_text(path: pathlib.Path, text: str) -> None:
  """Writes a file in one move: who stops in the middle finds the old or the new one.

  Raises:
    UserError: the folder cannot be written.
  """
  new = path.with_name(f'{path.name}.new')
  with writing(path.parent):
    new.write_text(text)
    os.replace(new, path)


def append_rows(path: pathlib.Path, rows: Iterable[dict]) -> None:
  """Appends a line of JSON for each row.

  Raises:
    UserError: the folder cannot be written.
  """
  with writing(path.parent), path.open('a') as file:
    file.write(''.join(json.dumps(row) + '\n' for row in rows))


def has_saved(workdir: pathlib.Path) -> bool:
  """Whether a run has got as far as weights: before that, nothing could be lost."""
  folders = (workdir / CHECKPOINT_FOLDER, workdir / FROZEN_FOLDER)
  return is_workdir(workdir) and any(
    folder.is_dir() and any(folder.iterdir()) for folder in folders
  )


def _check_same(
  workdir: pathlib.Path, old: dict, new: dict, *, may_go_on: bool
) -> None:
  wants_more = may_go_on and asks_for_more(old, new)
  planned = planned_over_all(new) if wants_more else []
  differing = sorted(
    name
    for name in old.keys() | new.keys()
    if name not in FREE and old.get(name) != new.get(name)
    if not (name == EPOCHS and wants_more and not planned)
  )
  if differing:
    values = ', '.join(
      f'{name} was {old.get(name)!r}, now {new.get(name)!r}' for name in differing
    )
    raise UserError(
      f'Expected the config that the run in {workdir} was started with; found others: '
      f'{values}. Give the old values to resume, or another --workdir to start anew.'
      + (advice(workdir, planned) if planned else '')
    )


def _check_data(workdir: pathlib.Path, data: dict[str, str]) -> None:
  path = workdir / DATA_FILE
  old = read_json(path) if path.is_file() else data
  if old != data:
    changed = sorted(name for name in old | data if old.get(name) != data.get(name))
    raise UserError(
      f'Expected the data that the run in {workdir} was started with; the images or '
      f'captions of {", ".join(changed)} are others now. Bring the old ones back to '
      'resume, or give another --workdir to start anew.'
      if changed != ['tokenizer']
      else f'Expected the tokenizer that the run in {workdir} was started with; found '
      'another one. Leave model.tokenizer out to resume with the one that it keeps.'
    )


def flat(config: ConfigDict) -> dict:
  """Values by dotted name, as JSON has them."""

  def walk(prefix, value):
    if isinstance(value, dict):
      for key, inner in value.items():
        yield from walk(f'{prefix}.{key}' if prefix else key, inner)
    else:
      yield prefix, value

  return dict(walk('', json.loads(config.to_json())))


def without_paths(value: object) -> object:
  """Plain values in which paths of the user's machine are shortened to their name."""
  if isinstance(value, Mapping):
    return {key: without_paths(inner) for key, inner in value.items()}
  if isinstance(value, list | tuple):
    return [without_paths(inner) for inner in value]
  if isinstance(value, str) and value.startswith(('/', '~', '.')):
    return pathlib.Path(value).name
  return value
