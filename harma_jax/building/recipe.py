"""A config, read once: all that a stage of a run is made with.

Below this floor nothing reads a field of a config.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from harma_jax.building.choices import fit_to_devices
from harma_jax.building.data import (
  build_batches,
  build_pixels,
  build_source,
  build_splits,
  distinct_images,
  epochs_of,
  place_images,
)
from harma_jax.building.evaluation import build_evaluation_split
from harma_jax.building.params import build_params
from harma_jax.building.step import Trainer, build_trainer
from harma_jax.building.text import (
  build_tokens,
  caption_lengths,
  context_length,
  longest_length,
  tokenizer_files,
)
from harma_jax.building.words import data_in_words, model_in_words
from harma_jax.data.annotations import CaptionTable
from harma_jax.data.pixels import PixelStore
from harma_jax.data.tables import read_table
from harma_jax.devices.mesh import make_mesh
from harma_jax.devices.targets import Target, this_target
from harma_jax.evaluation.evaluator import EvaluationSplit, Evaluator, make_evaluator
from harma_jax.model.clip import Clip


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataRecipe:
  """How captioned images are read and fed.

  Attributes:
    splits: the name of the split of each role, `train` and maybe `val` and `test`.
    read_table: `(split) -> CaptionTable`.
    context_length: tokens of a caption, at most.
    tokenize: `(table) -> i32[n_captions, L]`.
    tokenizer_files: of the tokenizer, `() -> paths`; none where it is CLIP's.
    evaluation_split: `(table) -> EvaluationSplit`, all of its images decoded.
    open_pixels: `(table) -> (PixelStore, cache)`, where training images are kept.
    place_images: `(pixels) -> dict`, all on the devices; see `make_inputs`.
    distinct_images: `(table, last_step=)`, the places for images in a batch; 0 for one
      each pair.
    batches: `(table, tokens, pixels=, n_distinct=, first_step=, last_step=)`, an
      iterator of batches with the lengths of their captions; see `train_batches`.
      `lengths=()` cuts none.
    longest_length: `(tokens) -> int`, to which all captions may be cut.
  """

  splits: Mapping[str, str]
  read_table: Callable[[str], CaptionTable]
  context_length: int
  tokenize: Callable[[CaptionTable], np.ndarray]
  tokenizer_files: Callable[[], Sequence[pathlib.Path]]
  evaluation_split: Callable[[CaptionTable], EvaluationSplit]
  open_pixels: Callable[[CaptionTable], tuple[PixelStore, str]]
  place_images: Callable[[PixelStore], dict]
  distinct_images: Callable[..., int]
  batches: Callable[..., Iterator[tuple[dict, int]]]
  longest_length: Callable[[np.ndarray], int]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pace:
  """How long a run lasts and how often something is due.

  Attributes:
    epochs: of training; 0 only evaluates.
    batch_size: items of a step: pairs, or images with several captions.
    captions_per_image: of an item.
    evaluate_every: epochs between evaluations.
    save_every: steps between further checkpoints; 0 for none.
    dispatch: steps in one program.
    log_every: steps between lines of the log.
    keep: latest checkpoints that stay.
    keep_every: what divides the steps of those that stay too; 0 for none.
  """

  epochs: float
  batch_size: int
  captions_per_image: int
  evaluate_every: float
  save_every: int
  dispatch: int
  log_every: int
  keep: int
  keep_every: int

  @property
  def pairs(self) -> int:
    """Of a step."""
    return self.batch_size * self.captions_per_image


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
  """What a stage of a run is made with.

  Attributes:
    config: for the folder, which keeps and compares it whole.
    seed: of the run.
    init: the starting weights that the config names; '' for random ones.
    selected_by: the role of the split whose mean recall picks the weights.
    selector: which mean recall, of `SELECTORS`.
    evaluation_batch: images or captions that are encoded at once.
    pace: how long, and when.
    model: its towers.
    mesh: all devices.
    data: how captioned images are read and fed.
    trainer: `(total_steps=, model=) -> Trainer`, by default of `model`.
    starting_params: `(init=) -> (params, record)`, and where they came from.
    evaluate: recalls of parameters on a split.
    data_words: what the data are called.
    model_words: the model, what is added and what trains.
  """

  config: ConfigDict
  seed: int
  init: str
  selected_by: str
  selector: str
  evaluation_batch: int
  pace: Pace
  model: Clip
  mesh: Mesh
  data: DataRecipe
  trainer: Callable[..., Trainer]
  starting_params: Callable[..., tuple[dict, dict]]
  evaluate: Evaluator
  data_words: str
  model_words: str


def build_recipe(
  config: ConfigDict,
  model: Clip,
  *,
  devices: list | None = None,
  target: Target | None = None,
) -> Recipe:
  """The recipe of a config that has been checked (`check_config`).

  Args:
    config: of one stage.
    model: of `build_model`, with the attention kernel that is to be used.
    devices: default all devices of all processes.
    target: what is known of their kind; default what they tell.
  """
  mesh = make_mesh(fsdp=config.mesh.fsdp, devices=devices)
  target = target or this_target(devices)
  model = fit_to_devices(config, model, mesh=mesh, target=target)
  batch = config.evaluation.batch_size
  return Recipe(
    config=config,
    seed=config.seed,
    init=config.init,
    selected_by=config.evaluation.select_on,
    selector=config.evaluation.select_by,
    evaluation_batch=batch,
    pace=_build_pace(config),
    model=model,
    mesh=mesh,
    data=_build_data(config, model, mesh=mesh),
    trainer=functools.partial(build_trainer, config, model=model, mesh=mesh),
    starting_params=functools.partial(build_params, config, model),
    evaluate=make_evaluator(model, mesh=mesh, batch_size=batch),
    data_words=data_in_words(config),
    model_words=model_in_words(config),
  )


def _build_pace(config: ConfigDict) -> Pace:
  return Pace(
    epochs=epochs_of(config),
    batch_size=config.train.batch_size,
    captions_per_image=config.data.captions_per_image,
    evaluate_every=config.evaluation.every_epochs,
    save_every=config.checkpoint.every_steps,
    dispatch=config.train.steps_per_dispatch,
    log_every=config.log_every,
    keep=config.checkpoint.keep,
    keep_every=config.checkpoint.keep_every,
  )


def _build_data(config: ConfigDict, model: Clip, *, mesh: Mesh) -> DataRecipe:
  bound = functools.partial
  return DataRecipe(
    splits=build_splits(config),
    read_table=bound(read_table, build_source(config)),
    context_length=context_length(config, model),
    tokenize=bound(build_tokens, config, model=model),
    tokenizer_files=bound(tokenizer_files, config, model),
    evaluation_split=bound(build_evaluation_split, config, model=model),
    open_pixels=bound(build_pixels, config),
    place_images=bound(place_images, config, mesh=mesh),
    distinct_images=bound(distinct_images, config, mesh=mesh),
    batches=bound(build_batches, config, lengths=caption_lengths(config, model)),
    longest_length=bound(longest_length, config, model),
  )
