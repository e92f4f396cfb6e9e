"""What a run reads: captions, tokens and images."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from harma_jax.building.recipe import DataRecipe
from harma_jax.data.annotations import CaptionTable, fingerprint
from harma_jax.data.pixels import PixelStore
from harma_jax.data.tokenizer_files import fingerprint_of_files
from harma_jax.devices.processes import agree
from harma_jax.evaluation.evaluator import EvaluationSplit


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunData:
  """What a run trains on, and is measured on.

  Attributes:
    table: the training captions, and the images that they belong to.
    tokens: i32[n_captions, L], of these captions.
    pixels: of the training images, or None where the devices hold them.
    images: all training images on the devices, or nothing; see `make_inputs`.
    cache: where they are kept, one of `data.pixels.CACHES`.
    splits: what is measured, by its role.
    fingerprints: of each split that is read, by its role, and of the tokenizer.
    tokenizer: its files, that the run keeps; none of CLIP's.
  """

  table: CaptionTable
  tokens: np.ndarray
  pixels: PixelStore | None
  images: dict
  cache: str
  splits: Mapping[str, EvaluationSplit]
  fingerprints: Mapping[str, str]
  tokenizer: Sequence[pathlib.Path]


def read_data(recipe: DataRecipe) -> RunData:
  """Reads all splits of a run.

  Raises:
    UserError: what is wrong with them (with training images that are read with each
      batch, when they are read); processes that read different data.
  """
  tables = {role: recipe.read_table(name) for role, name in recipe.splits.items()}
  splits = {
    role: recipe.evaluation_split(table)
    for role, table in tables.items()
    if role != 'train'
  }
  table = tables['train']
  pixels, cache = recipe.open_pixels(table)
  on_device = cache == 'device'
  prints = {role: fingerprint(table) for role, table in tables.items()}
  files = recipe.tokenizer_files()
  if files:
    prints['tokenizer'] = fingerprint_of_files(files)
  agree({f'data of {role}': value for role, value in prints.items()})
  return RunData(
    table=table,
    tokens=recipe.tokenize(table),
    pixels=None if on_device else pixels,
    images=recipe.place_images(pixels) if on_device else {},
    cache=cache,
    splits=splits,
    fingerprints=prints,
    tokenizer=files,
  )


def batches_of(
  recipe: DataRecipe, data: RunData, *, last_step: int
) -> Callable[..., Iterator[tuple[dict, int]]]:
  """`batches(first_step=, last_step=)` of training, by default up to `last_step`.

  Each comes with the length of its captions; see `train_batches`.
  """
  return functools.partial(
    recipe.batches,
    data.table,
    data.tokens,
    pixels=data.pixels,
    n_distinct=recipe.distinct_images(data.table, last_step=last_step),
    last_step=last_step,
  )
