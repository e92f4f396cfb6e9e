"""The Python interface: `harma_jax.load(path)` and what the model it gives can do.

Shown in use in docs/api.md.
"""

import dataclasses
import functools
import hashlib
import json
import os
import pathlib
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from PIL import Image

from harma_jax.building.data import build_how
from harma_jax.building.model import build_model
from harma_jax.building.params import build_fresh, read_start, read_workdir
from harma_jax.building.text import (
  context_length,
  find_tokenizer_of,
  long_texts,
  open_tokenizer_of,
  usual_long_texts,
)
from harma_jax.data.cleaning import RELEASED_WORDS, clean_caption, is_cut
from harma_jax.data.images import (
  read_image,
  resize_for_evaluation,
)
from harma_jax.data.local_paths import check_local
from harma_jax.data.tokenizer import Tokenizer, check_lengths, encode
from harma_jax.data.tracking import Track, untracked
from harma_jax.devices.mesh import make_mesh, replicated
from harma_jax.errors import UserError
from harma_jax.evaluation.evaluator import make_encoders
from harma_jax.evaluation.resize import is_for_devices
from harma_jax.evaluation.zero_shot import TEMPLATES, class_features, make_prompts
from harma_jax.model.adapter import AdapterSettings
from harma_jax.model.clip import Clip
from harma_jax.model.sizes import SIZES, Size, named_size
from harma_jax.raster.how import DEFAULT, How
from harma_jax.rundir.workdir import is_workdir, read_config
from harma_jax.search_index.build import Made, build_index
from harma_jax.search_index.files import make_tiles
from harma_jax.search_index.graph import write_graph
from harma_jax.search_index.index import Index, check_model, open_index
from harma_jax.search_index.point import rows_at
from harma_jax.search_index.query import Hit, search_many
from harma_jax.search_index.reader import stored_how
from harma_jax.weights.load import has_adapters, load_weights
from harma_jax.weights.names import paths_of
from harma_jax.weights.recognise import check_settings, recognise
from harma_jax.weights.settings import check_cleaning
from harma_jax.weights.sources import Source, find_source, open_source

BATCH_SIZE = 64
QUERIES_AT_ONCE = 64  # whose products with all rows are computed together
UNWANTED = 0.5  # the weight of what a query is to be unlike

ImageLike = str | os.PathLike | np.ndarray | Image.Image


def load(
  path: str | os.PathLike,
  *,
  size: str = 'auto',
  cleaning: str = 'auto',
  tokenizer: str | os.PathLike = '',
) -> 'Model':
  """The selected model of a run, or weights of another program.

  Args:
    path: the work folder of a run; or what `--config.init` takes: a weight file, a
      folder of weights, a hub id. Adapters in a bare file are taken for such with 8
      heads, as the original's are.
    size: only for weights that do not tell theirs: a name of `model.sizes.SIZES`.
    cleaning: of texts, one of `CLEANINGS`; `auto` is that of the captions in training,
      `released` for weights that do not tell.
    tokenizer: of a SigLIP's texts, a folder; '' for what lies beside its weights.

  Raises:
    UserError: there is no model, or it cannot be read.
  """
  check_local(path, 'The model')
  path = os.path.expanduser(path)
  if is_workdir(path):
    return _model_of_run(path, read_workdir(path), cleaning=cleaning)
  source = open_source(path)
  model = _model_of(source, size=size, settings=_settings_beside(path))
  check_settings(source, model.size)
  fresh = build_fresh(model, jax.random.key(0))
  params = jax.device_get(load_weights(source, fresh, model=model))
  return Model(
    model,
    params,
    path=path,
    context_length=model.size.context_length,
    cleaning=(source.cleaning or 'released') if cleaning == 'auto' else cleaning,
    tokenizer=functools.partial(
      _find_and_open, model, told=os.fspath(tokenizer), init=path
    ),
  )


def load_start(path: str | os.PathLike) -> 'Model':
  """The model as it was before the first step of a run.

  Raises:
    UserError: `path` is not the folder of a run, or the weights that it started from
      are gone or are others now.
  """
  path = os.path.expanduser(path)
  return _model_of_run(path, read_start(path))


class Model:
  """Images and texts to features that can be compared, on this process's devices.

  Attributes:
    path: where it was loaded from.
    clip: how features are computed.
    params: its parameters, numpy arrays.
    context_length: tokens of a text.
    cleaning: of texts, one of `CLEANINGS`.
    how: how it is used to image files of many bands, or other than 8 bits.
    long_texts: what becomes of texts above its context, one of `LONG_TEXTS`.
  """

  def __init__(
    self,
    clip: Clip,
    params: dict,
    *,
    path: str | os.PathLike = '',
    context_length: int,
    cleaning: str = 'released',
    how: How = DEFAULT,
    tokenizer: Callable[[], Tokenizer] | None = None,
    long_texts: str = '',
  ):
    check_cleaning(cleaning, path=path)
    self.path, self.clip, self.params = os.fspath(path), clip, params
    self.context_length, self.cleaning, self.how = context_length, cleaning, how
    self.long_texts = long_texts or usual_long_texts(clip)
    open_it = tokenizer or functools.partial(_find_and_open, clip)
    self._tokenizer = functools.cache(open_it)  # images need none
    # Each process works for itself, whatever others there are.
    self._mesh = make_mesh(devices=jax.local_devices())
    self._encoders = functools.cache(self._make_encoders)

  def encode_images(
    self, images: Sequence[ImageLike], *, how: How | None = None
  ) -> np.ndarray:
    """Unit features f32[n, D]: their inner products are cosines.

    Args:
      images: paths, Pillow images, or arrays u8[H, W, 3]; any sizes. Each is resized as
        a whole to what the model sees.
      how: which bands and values of files are shown; by default, as in training.

    Raises:
      UserError: a file that cannot be read, or another kind of array.
    """
    if isinstance(images, str | os.PathLike | Image.Image):
      raise TypeError('Expected a sequence of images; found a single one.')
    features = [self._no_features]
    for start in range(0, len(images), BATCH_SIZE):
      some = images[start : start + BATCH_SIZE]
      pixels = np.stack([self._pixels(image, how=how or self.how) for image in some])
      encode, _ = self._encoders(self._batch_size(len(pixels)))
      features.append(encode(self._placed, pixels))
    return np.concatenate(features)

  def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
    """Unit features f32[n, D] of texts, cleaned as captions are in training.

    A warning counts the texts that are cut.

    Raises:
      UserError: a text without a word, or one that is too long and must not be cut; a
        model whose tokenizer is not there, or is of another vocabulary.
    """
    if isinstance(texts, str):
      raise TypeError('Expected a sequence of texts; found a single one.')
    if not len(texts):
      return self._no_features
    cleaned = [clean_caption(text, cleaning=self.cleaning) for text in texts]
    empty = [text for text, words in zip(texts, cleaned, strict=True) if not words]
    if empty:
      raise UserError(f'Expected words to search for; found {empty[0]!r}.')
    length, tokenizer = self.context_length, self._tokenizer()
    tokens, lengths = encode(cleaned, context_length=length, tokenizer=tokenizer)
    if self.long_texts == 'refuse':
      check_lengths(lengths, texts, context_length=length)
    self._warn_of_cuts(texts, lengths)
    _, encode_text = self._encoders(self._batch_size(len(tokens)))
    return encode_text(self._placed, tokens)

  def encode_classes(
    self, classes: Sequence[str], *, templates: Sequence[str] = TEMPLATES
  ) -> np.ndarray:
    """Unit features f32[C, D] of classes: each the mean of its prompts', normalised.

    Args:
      classes: their names, as `baseball field`.
      templates: prompts, in which `{}` stands for the name.

    Raises:
      UserError: no template, one without `{}`, or a prompt without a word.
    """
    if isinstance(classes, str) or isinstance(templates, str):
      raise TypeError(
        'Expected sequences of classes and templates; found a single one.'
      )
    features = self.encode_texts(make_prompts(classes, templates))
    return class_features(
      features.reshape(len(classes), len(templates), features.shape[1])
    )

  def classify(
    self,
    images: Sequence[ImageLike],
    classes: Sequence[str],
    *,
    templates: Sequence[str] = TEMPLATES,
  ) -> np.ndarray:
    """Cosines f32[n, C] of images with classes; the highest of a row is the guess.

    Args:
      images: as `encode_images` takes them.
      classes: as `encode_classes` takes them.
      templates: as `encode_classes` takes them.

    Raises:
      UserError: as both.
    """
    return (
      self.encode_images(images) @ self.encode_classes(classes, templates=templates).T
    )

  def make_index(
    self,
    images: str | os.PathLike,
    out: str | os.PathLike,
    *,
    tile: int | Sequence[int] = 0,
    stride: int | Sequence[int] = 0,
    storage: str = 'float32',
    verify: bool = False,
    share: tuple[int, int] = (0, 1),
    threads: int = 0,
    batch_size: int = BATCH_SIZE,
    approximate: bool = False,
    how: How | None = None,
    track: Track = untracked,
  ) -> Made:
    """Makes an index of a folder of images, or brings one up to date: `build_index`.

    Args:
      images: the folder.
      out: folder of the index.
      tile: side in pixels of the tiles that images are cut into, or several sides; 0
        for whole images.
      stride: from one tile to the next, of each side; 0 for half a tile.
      storage: of features: `float32`, or `int16` in half the bytes.
      verify: whether files that look unchanged are compared by content too.
      share: (i, n), of the i-th of n machines that work on one index.
      threads: how many images are read at once; 0 for the processor's number.
      batch_size: images that are encoded at once; rounded up for the devices.
      approximate: whether to make the graph of `search(approximate=True)` at the end.
      how: which bands and values of files are shown; by default, as in training.
      track: shows the progress.

    Returns:
      What has been done, and what cannot be read.

    Raises:
      UserError: as `build_index`; `approximate` without usearch.
    """
    batch_size = -(-batch_size // self._mesh.size) * self._mesh.size
    encode, _ = self._encoders(batch_size)
    tiles = make_tiles(tile, stride)
    where = {'side': self.clip.size.image_size, 'platform': self._platform}
    made = build_index(
      images,
      out,
      encode=functools.partial(encode, self._placed),
      model={'model_sha256': self.sha256, 'model_path': _absolute(self.path)},
      preprocessing=self.preprocessing | (how or self.how)._asdict(),
      batch_size=batch_size,
      tiles=tiles,
      storage=storage,
      verify=verify,
      share=share,
      threads=threads or os.cpu_count(),
      as_cut=[length for length, _ in tiles if is_for_devices(length, **where)],
      track=track,
    )
    if approximate:
      write_graph(open_index(out))
    return made

  def search(
    self,
    index: str | os.PathLike | Index,
    *,
    text: str = '',
    image: ImageLike | None = None,
    at: tuple[float, float] | None = None,
    minus: str = '',
    top: int = 12,
    approximate: bool = False,
    allowed: np.ndarray | None = None,
    overlap: str = 'best',
  ) -> list[Hit]:
    """The images, or tiles, of an index that are most like what is asked for.

    Of text, image and place, those that are given count alike: the query is the sum of
    their unit features, less half of that of `minus`, made a unit again.

    Args:
      index: its folder; or what `open_index` gave, to search it more than once.
      text: what to look for.
      image: what to look for.
      at: longitude and latitude of what to look for, in the index.
      minus: a text; what is like it comes later.
      top: how many.
      approximate: by the graph of an index that has one.
      allowed: bool[n], the rows that may be found, see `search_many`.
      overlap: `best` or `keep`, see `search_many`.

    Raises:
      UserError: nothing to look for, an index of another model, or as `search_many`.
    """
    index = self._opened(index)
    feature = self._feature(index, text=text, image=image, at=at, minus=minus)
    settings = {'top': top, 'approximate': approximate, 'overlap': overlap}
    [hits] = search_many(index, feature[None], allowed=allowed, **settings)
    return hits

  def search_texts(
    self,
    index: str | os.PathLike | Index,
    texts: Sequence[str],
    *,
    top: int = 12,
    approximate: bool = False,
    allowed: np.ndarray | None = None,
    overlap: str = 'best',
  ) -> list[list[Hit]]:
    """`search` of many texts, the rows of the index read once for all of them.

    Args:
      index: as `search` takes it.
      texts: what to look for, one query each.
      top: how many for each.
      approximate: as `search` takes it.
      allowed: as `search` takes it.
      overlap: as `search` takes it.

    Raises:
      UserError: as `search`.
    """
    index, found = self._opened(index), []
    settings = {'top': top, 'approximate': approximate, 'overlap': overlap}
    for start in range(0, len(texts), QUERIES_AT_ONCE):
      features = self.encode_texts(texts[start : start + QUERIES_AT_ONCE])
      found += search_many(index, features, allowed=allowed, **settings)
    return found

  def _opened(self, index: str | os.PathLike | Index) -> Index:
    index = index if isinstance(index, Index) else open_index(index)
    check_model(index, sha256=self.sha256, width=self.clip.size.embedding)
    return index

  def _feature(
    self,
    index: Index,
    *,
    text: str,
    image: ImageLike | None,
    at: tuple[float, float] | None,
    minus: str,
  ) -> np.ndarray:
    """f32[D], the unit feature of a query."""
    wanted = self.encode_texts([text]) if text else self._no_features
    if image is not None:
      how = stored_how(index.manifest['preprocessing'])
      wanted = np.concatenate([wanted, self.encode_images([image], how=how)])
    if at is not None:
      there = index.features_at(rows_at(index.corners, at)).mean(axis=0)
      wanted = np.concatenate([wanted, [there / np.linalg.norm(there)]])
    if not len(wanted):
      raise UserError(
        'Expected a text, an image or a place in the index to search for; found none.'
      )
    feature = wanted.sum(axis=0)
    if minus:
      feature -= UNWANTED * self.encode_texts([minus])[0]
    return (feature / np.linalg.norm(feature)).astype(np.float32)

  @functools.cached_property
  def sha256(self) -> str:
    """A hash of all that features depend on: weights, as f32, and settings."""
    settings = _settings_of(self.clip)
    if self.cleaning != 'released':  # of which older hashes say nothing
      settings['cleaning'] = self.cleaning
    digest = hashlib.sha256(json.dumps(settings).encode())
    for path, leaf in sorted(paths_of(self.params).items()):
      if path not in ('temperature', 'logit_bias', 'logit_scale'):
        leaf = np.asarray(leaf).astype('<f4', order='C')
        digest.update(f'{path} {list(leaf.shape)}\n'.encode())
        digest.update(leaf)
    return digest.hexdigest()

  @property
  def preprocessing(self) -> dict:
    """How an image becomes what the model sees, as JSON has it."""
    seen = self.clip.size.preprocessing
    how = seen.interpolation
    return {
      'side': self.clip.size.image_size,
      'resize': f'whole image or tile, {how} (Pillow)',
      'mean': list(seen.mean),
      'std': list(seen.std),
      **({} if how == 'bicubic' else {'interpolation': how}),
    }

  @functools.cached_property
  def _placed(self) -> dict:
    return jax.device_put(self.params, replicated(self._mesh))

  @property
  def _platform(self) -> str:
    return self._mesh.devices.flat[0].platform

  @property
  def _no_features(self) -> np.ndarray:
    return np.zeros((0, self.clip.size.embedding), np.float32)

  def _warn_of_cuts(self, texts: Sequence[str], lengths: np.ndarray) -> None:
    of_words = [is_cut(text, cleaning=self.cleaning) for text in texts]
    cut = np.flatnonzero(np.array(of_words, bool) | (lengths > self.context_length))
    if cut.size:
      logging.warning(
        '%d of %d texts are cut: this model reads %s%d tokens of each. Shorten them; '
        'the first: %r',
        *(cut.size, len(texts)),
        f'{RELEASED_WORDS} words, ' if self.cleaning == 'released' else '',
        *(self.context_length, texts[cut[0]]),
      )

  def _make_encoders(self, batch_size: int):
    return make_encoders(self.clip, mesh=self._mesh, batch_size=batch_size)

  def _batch_size(self, count: int) -> int:
    """Few sizes are compiled, and a single text is not padded to a whole batch."""
    a_device = -(-min(count, BATCH_SIZE) // self._mesh.size)
    return self._mesh.size * 2 ** max(a_device - 1, 0).bit_length()

  def _pixels(self, image: ImageLike, *, how: How) -> np.ndarray:
    if isinstance(image, np.ndarray):
      if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise UserError(
          f'Expected images u8[H, W, 3]; found an array of {image.dtype}'
          f'{list(image.shape)}. Stretch it to 0 to 255 and take three bands.'
        )
      image = Image.fromarray(image)
    if not isinstance(image, Image.Image):
      image = read_image(image, how=how)
    size = self.clip.size
    return resize_for_evaluation(
      image.convert('RGB'),
      side=size.image_size,
      interpolation=size.preprocessing.interpolation,
    )


def _settings_of(clip: Clip) -> dict:
  """What features depend on besides the weights, as plain values."""
  settings = {'size': _words_of(clip.size)}
  if clip.adapter is None:  # then the rest says nothing
    return settings
  return settings | {
    'adapter': dataclasses.asdict(clip.adapter),
    'shared_adapter': clip.shared_adapter,
    'adapter_padding': clip.adapter_padding,
  }


def _words_of(size: Size) -> dict:
  """The fields of a size; those that came later only where they say something."""
  usual = dataclasses.asdict(SIZES['ViT-B-32'])
  later = ('text_activation', 'family', 'logit_bias', 'preprocessing')
  words = {
    name: value
    for name, value in dataclasses.asdict(size).items()
    if name not in later or value != usual[name]
  }
  for tower in ('image', 'text'):
    if not words[tower]['mlp_width']:
      del words[tower]['mlp_width']
  return words


def _absolute(path: str) -> str:
  """An existing path from anywhere; a hub id as it is."""
  return str(pathlib.Path(path).resolve()) if os.path.exists(path) else path


def _model_of_run(path: str, params: dict, *, cleaning: str = 'auto') -> Model:
  config = read_config(path)
  model = build_model(config)
  return Model(
    model,
    params,
    path=path,
    context_length=context_length(config, model),
    cleaning=config.data.cleaning if cleaning == 'auto' else cleaning,
    how=build_how(config),
    tokenizer=functools.partial(
      _find_and_open, model, told=config.model.tokenizer, init=config.init
    ),
    long_texts=long_texts(config, model),
  )


def _find_and_open(model: Clip, *, told: str = '', init: str = '') -> Tokenizer:
  return open_tokenizer_of(model, find_tokenizer_of(model, told=told, init=init))


def _model_of(source: Source, *, size: str, settings: dict) -> Clip:
  """The model that weights belong to."""
  name, pixels = recognise(source) if size == 'auto' else (size, 0)
  size = named_size(name, image_size=pixels)
  return Clip(
    size=dataclasses.replace(
      size, preprocessing=source.preprocessing or size.preprocessing
    ),
    adapter=_adapter_of(source, settings) if has_adapters(source) else None,
    shared_adapter=settings.get('shared_adapter') or _who_shares(source),
    adapter_padding=source.settings.get('adapter_padding', 'none'),
    dtype=jnp.float32 if jax.default_backend() == 'cpu' else jnp.bfloat16,
  )


def _adapter_of(source: Source, settings: dict) -> AdapterSettings:
  widths = {'bottleneck': 'mmadapter.img_proj_down', 'shared_bottleneck': 'xx.l1'}
  found = {'heads': settings.get('adapter_heads', AdapterSettings.heads)}
  for field, module in widths.items():
    for name in source.tensors:
      if name.endswith(f'{module}.weight'):
        found[field] = len(source.tensors[name])
        break
  return AdapterSettings(**found)


def _who_shares(source: Source) -> str:
  shared = [name for name in source.tensors if 'BiShareAdapter' in name]
  if any('visual' in name for name in shared):
    return 'both'
  return 'text' if shared else 'none'


def _settings_beside(path: str) -> dict:
  """What our own export says of a model with adapters; empty for other weights."""
  _, config = find_source(path)
  settings = json.loads(config.read_text()) if config else {}
  return settings if settings.get('model_type') == 'harma' else {}
