"""Weights of other programs: where they are, and whose names they have."""

import dataclasses
import hashlib
import pathlib
import re
from collections.abc import Mapping

import huggingface_hub
import numpy as np
from absl import logging
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

from harma_jax.errors import UserError
from harma_jax.model.preprocessing import Preprocessing
from harma_jax.weights import big_vision
from harma_jax.weights.published import where_published
from harma_jax.weights.settings import (
  PROCESSOR_FILES,
  check_cleaning,
  read_cleaning,
  read_preprocessing,
  read_settings,
)
from harma_jax.weights.tensors import SHARDS, Lazy, open_tensors, shards_of

# In a folder or a repository of the hub, the first pair that is there is taken.
_FILES = (
  ('open_clip_config.json', 'open_clip_model.safetensors'),
  ('open_clip_config.json', 'open_clip_pytorch_model.bin'),
  ('config.json', 'model.safetensors'),
  ('config.json', 'model.safetensors.index.json'),
  ('config.json', 'pytorch_model.bin'),
  ('config.json', 'pytorch_model.bin.index.json'),
)

# Of adapters alone, of PEFT or of our export.
ADAPTER_FILES = {'adapter_config.json', 'adapter_model.safetensors'}

_SUFFIXES = ('.safetensors', *SHARDS, '.bin', '.pt', '.pth', '.npz')

# A name that only weights of this format have, after prefixes are taken off; the first
# that is there counts.
_MARKS = {
  'big_vision': big_vision.MARK,
  'huggingface_siglip': 'vision_model.head.probe',
  'open_clip_siglip': 'visual.trunk.attn_pool.latent',
  'harma_siglip': 'model.visual.attn_pool.probe',
  'long_clip': 'positional_embedding_res',
  'huggingface': 'vision_model.embeddings.class_embedding',
  'harma': 'model.visual.class_embedding',
  'open_clip': 'visual.class_embedding',
}

_REMOTE_MARKS = {
  'clip.visual.class_embedding',
  'clip.visual.attn_pool.probe',
}

# Constants that some files keep beside the weights.
_CONSTANTS = re.compile(
  r'(.*\.)?(attn_mask|position_ids|input_resolution|context_length|vocab_size)'
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
  """Weights of another program.

  Attributes:
    path: of the file.
    format: of `layouts.LAYOUTS`, whose names they are; or `openai`, its archives.
    tensors: arrays by name, each read when it is asked for.
    settings: what tensors do not show and something beside them tells: `activation`
      and `text_activation`, of `sizes.Activation`, `image_heads`, `text_heads`,
      `image_size`, `adapter_padding` (of a model with adapters); empty for bare files.
    told_by: what tells it.
    cleaning: how its captions were cleaned, one of `CLEANINGS`; '' where nothing tells.
    preprocessing: what its images undergo; None where nothing tells.
  """

  path: pathlib.Path
  format: str
  tensors: Mapping[str, np.ndarray]
  settings: Mapping[str, str | int]
  told_by: str = ''
  cleaning: str = ''
  preprocessing: Preprocessing | None = None

  @property
  def activation(self) -> str | None:
    """One of `sizes.Activation`; None where nothing tells it."""
    return self.settings.get('activation')

  @property
  def layout(self) -> str:
    """The layout of `layouts.LAYOUTS` that the tensors have."""
    return 'open_clip' if self.format == 'openai' else self.format


def open_source(source: str) -> Source:
  """Opens a file, a folder or a repository of the hub.

  Raises:
    UserError: it is not there, cannot be read, or holds no CLIP.
  """
  path, config_path = find_source(source)
  tensors, is_script = open_tensors(path)
  tensors = _without_prefixes(tensors, path=path)
  if big_vision.is_big_vision(tensors):
    tensors = big_vision.plain(tensors)
  _check_resolution(tensors, path=path)
  kind = _format(tensors, path=path)
  settings = read_settings(config_path)
  told_by = str(config_path) if settings else ''
  if kind == 'long_clip' and not settings:  # as its code has it
    told_by, settings = "its names, which are Long-CLIP's", {'activation': 'quick_gelu'}
  if is_script and kind == 'open_clip':  # OpenAI's names are OpenCLIP's
    kind, told_by = 'openai', 'its form, which is that of OpenAI'
    settings = {'activation': 'quick_gelu'}
  cleaning = read_cleaning(config_path) or tensors.cleaning
  if cleaning:
    check_cleaning(cleaning, path=path)
  return Source(
    path=path,
    format=kind,
    tensors=tensors,
    settings=settings,
    told_by=told_by,
    cleaning=cleaning,
    preprocessing=read_preprocessing(config_path),
  )


def find_source(source: str) -> tuple[pathlib.Path, pathlib.Path | None]:
  """The weight file that `source` means, and the config beside it.

  Files of the hub are downloaded once and kept in its cache.

  Args:
    source: a file, a folder, the id of a hub repository (`owner/name`), or a file of
      one (`owner/name/file.pt`).

  Raises:
    UserError: there is none.
  """
  path = pathlib.Path(source).expanduser()
  if path.is_dir():
    path /= _choose(_names_in(path), source=source)
  if path.is_file():
    config = _config_of(path.name, _names_in(path.parent))
    return path, path.parent / config if config else None
  repository = repository_of(source)
  if not repository:
    raise UserError(
      'init: expected a weight file, a folder of weights, a work folder of harma_jax, '
      f'or the id of a hub repository (owner/name); {source!r} is not there.'
      f'{where_published(source)}'
    )
  return _from_hub(repository, file=source[len(repository) + 1 :])


def repository_of(source: str) -> str:
  """`owner/name` of what may mean the hub; '' for what does not."""
  found = re.match(r'[^./~][^/]*/[^/]+(?=/|$)', source)
  return found[0] if found else ''


def sha256(path: pathlib.Path) -> str:
  """The hash of a file, in hexadecimal; of an index with all of its shards."""
  digest = hashlib.sha256()
  parts = shards_of(path) if path.name.endswith(SHARDS) else []
  for part in (path, *parts):
    with part.open('rb') as file:
      whole = hashlib.file_digest(file, 'sha256')
    if not parts:
      return whole.hexdigest()
    digest.update(whole.digest())
  return digest.hexdigest()


def _choose(files: set[str], *, source: str) -> str:
  """The weights among the files of a folder."""
  for config, weights in _FILES:
    if files >= {config, weights}:
      return weights
  found = sorted(name for name in files if name.endswith(_SUFFIXES))
  if files >= ADAPTER_FILES:
    raise UserError(
      f'init: expected the weights of a whole model; {source} holds adapters '
      f'alone. Set --config.adapter={source}, and --config.init to their '
      'backbone.'
    )
  if len(found) == 1:
    return found[0]
  wanted = ' or '.join(f'{weights} with {config}' for config, weights in _FILES)
  raise UserError(
    f'init: expected one weight file, or {wanted}, in {source}; found '
    f'{", ".join((found or sorted(files))[:8]) or "nothing"}. Set --config.init to the '
    'file that you mean.'
  )


def _config_of(weights: str, files: set[str]) -> str | None:
  """The config that belongs to weights: by their name, or as no others are there."""
  alone = [name for name in files if name.endswith(_SUFFIXES)] == [weights]
  for config, name in _FILES:
    if config in files and (alone or weights == name):
      return config
  return None


def _names_in(folder: pathlib.Path) -> set[str]:
  return {file.name for file in folder.iterdir() if file.is_file()}


def _from_hub(
  repository: str, *, file: str
) -> tuple[pathlib.Path, pathlib.Path | None]:
  """Downloads `file`, or the first pair that is there where it is empty."""
  try:
    if file:
      return _download(repository, file), None
    return _download_pair(repository)
  # What a network, a proxy or a disk may raise is one of many.
  except Exception as error:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    raise UserError(
      f'init: expected to find {repository!r} as a path or on the hub; found '
      f'neither: {reason.rstrip(".")}. Download its files where there is a network '
      'and set --config.init=FOLDER; where its weights have another name than '
      f'{", ".join(weights for _, weights in _FILES)}, say it: '
      f'--config.init={repository}/FILE.{where_published(f"{repository}/{file}")}'
    ) from error


def _download_pair(repository: str) -> tuple[pathlib.Path, pathlib.Path]:
  """The first of `_FILES` that is there, in the cache if it has one."""
  cached = [pair for pair in _FILES if all(_cached(repository, name) for name in pair)]
  for config, weights in cached or _FILES:
    try:
      config_path = _download(repository, config)
      path = _download(repository, weights)
      if not cached:
        _download_processor(repository, config)
      return path, config_path
    except LocalEntryNotFoundError:
      raise  # there is no network, and no need to ask it for the others
    except EntryNotFoundError as error:
      missing = error
  raise missing


def _download_processor(repository: str, config: str) -> None:
  """What tells how images are resized, beside transformers' config, if it is there."""
  for name in PROCESSOR_FILES if config == 'config.json' else ():
    try:
      _download(repository, name)
    except EntryNotFoundError:
      logging.info('%s has no %s', repository, name)
    else:
      return


def _download(repository: str, file: str) -> pathlib.Path:
  """A file of a repository, in the cache; an index with its shards beside it."""
  cached = _cached(repository, file)
  path = pathlib.Path(cached or huggingface_hub.hf_hub_download(repository, file))
  if file.endswith(SHARDS):
    for shard in shards_of(path):
      _download(repository, file.replace(path.name, shard.name))
  return path


def _cached(repository: str, file: str) -> str | None:
  path = huggingface_hub.try_to_load_from_cache(repository, file)
  return path if isinstance(path, str) else None  # or a mark that it is not there


def _without_prefixes(tensors: Lazy, *, path: pathlib.Path) -> Lazy:
  """OpenCLIP's or HarMA's plain names, out of those of a wrapped model.

  Raises:
    UserError: a tensor is there under two names that become one.
  """
  plain = tensors.renamed(r'^((module|_orig_mod)\.)+')
  if set(plain) & _REMOTE_MARKS:  # what transformers loads as remote code
    plain = plain.renamed(r'^clip\.', 'model.')
  # OpenCLIP's models of custom text towers; those of SigLIP are always so.
  if {'text.token_embedding.weight', 'visual.class_embedding'} <= set(plain):
    plain = plain.renamed(r'^text\.')
  if len(plain) < len(tensors):
    raise UserError(
      f'init: expected one name for each tensor in {path}; found tensors whose names '
      'differ in the prefixes module. or text. alone. Save one of each.'
    )
  return plain.without(_CONSTANTS)


def _check_resolution(tensors: Mapping, *, path: pathlib.Path) -> None:
  """Raises UserError for SigLIP 2 of native resolution, which is another family."""
  patches = 'vision_model.embeddings.patch_embedding.weight'
  is_naflex = 'visual.trunk.embeds.proj.weight' in tensors or (
    patches in tensors and tensors[patches].ndim == 2
  )
  if is_naflex:
    raise UserError(
      f'init: expected a CLIP or a SigLIP of a fixed resolution; {path} is a SigLIP 2 '
      'NaFlex, whose images keep their aspect ratio: harma_jax does not compute it. '
      'Take the weights of a fixed side, as google/siglip2-so400m-patch16-256.'
    )


def _format(tensors: Mapping, *, path: pathlib.Path) -> str:
  for kind, mark in _MARKS.items():
    if mark in tensors:
      return kind
  raise UserError(
    f'init: expected a CLIP or SigLIP with a vision transformer, under the names of '
    f'{", ".join(_MARKS)}; found in {path}: {", ".join(list(tensors)[:6])}.'
  )
