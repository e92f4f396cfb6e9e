"""What the curriculum finds and what it wins, with captions swapped on purpose.

  python -m benchmarks.curriculum --data=rsicd --root=RSICD [--group=0 --groups=1]
  python -m benchmarks.curriculum --data=scenes --root=FOLDER
  python -m benchmarks.curriculum --data=rrsitr --root=FOLDER --init=WEIGHTS

A tiny CLIP is trained from random weights on images with all their captions, a share of
which change places. With `rrsitr` the captions are those of the published tables
(RSITMD-NC-00.csv to -08, rsitmd_val.csv and rsitmd_test.csv in FOLDER, RSITMD's images
in FOLDER/images), five seeds train HarMA's adapters on WEIGHTS, and the test split is
measured too, for the epoch that is best on val. The first epochs are plain and shared
by all settings; the rest is trained once with each. Results go to
benchmarks/curriculum_<data>.jsonl, one line each; what is there already is not run
again; `python -m benchmarks.curriculum_tables` prints them. Several processes may work
with `--groups` of them, each at its own `--group`.
"""

import argparse
import dataclasses
import functools
import json
import pathlib
import time
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from ml_collections import ConfigDict

from benchmarks.judging import CAPTIONS, areas_of, judge
from harma_jax.building.data import build_inputs, build_pixels, build_table
from harma_jax.building.evaluation import build_evaluation_split
from harma_jax.building.model import build_model
from harma_jax.building.params import build_params, resolve
from harma_jax.building.step import build_optimizer, build_state, build_step
from harma_jax.building.text import context_length
from harma_jax.configs.backbones import scratch
from harma_jax.configs.common import get_config as common
from harma_jax.data.annotations import CaptionTable
from harma_jax.data.noise import compare_tables, swap_captions
from harma_jax.data.pipeline import image_batches, train_batches
from harma_jax.data.pixels import PixelStore
from harma_jax.data.tokenizer import tokenize_table
from harma_jax.devices.mesh import make_mesh
from harma_jax.evaluation.evaluator import (
  EvaluationSplit,
  make_encoders,
  make_evaluator,
)
from harma_jax.model.clip import Clip, init_params
from harma_jax.objective.logits import Logits
from harma_jax.stepping.step import TrainState

FOLDER = pathlib.Path(__file__).parent
JUDGED_IMAGES = 2560  # of the training set, for the areas under the curve
DATA = {
  'rsicd': {'epochs': 3, 'plain_epochs': 1, 'batch_size': 128},
  'scenes': {'epochs': 9, 'plain_epochs': 3, 'batch_size': 64},
  'rrsitr': {'epochs': 10, 'plain_epochs': 2, 'batch_size': 128},
}
DROP = {'curriculum': 'drop', 'realign': False}
SETTINGS = {
  'plain': {'curriculum': 'off', 'realign': False},
  'drop': DROP,
  'drop by loss': DROP | {'indicator': 'loss'},
  'drop at random': DROP | {'indicator': 'random'},
  'realign': {'curriculum': 'off', 'realign': True},
  'drop and realign': {'curriculum': 'drop', 'realign': True},
  'drop by caption similarity': DROP | {'indicator': 'caption_similarity'},
  'drop and realign, -0.3 to 0': {
    'curriculum': 'drop',
    'realign': True,
    'threshold': (-0.3, 0.0),
    'threshold_unit': 'cosine',
  },
}
# The settings that every group trains before any group trains the others.
FIRST = tuple(SETTINGS)[:6]
GROUPS = [(noise, seed) for seed in range(3) for noise in (0.2, 0.0, 0.4)]
# RRSITR reports five seeds of each of its tables.
RRSITR_GROUPS = [
  (noise, seed) for seed in range(5) for noise in (0.2, 0.0, 0.4, 0.6, 0.8)
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Study:
  """What all runs on one data set share."""

  config: ConfigDict
  model: Clip
  pixels: PixelStore
  val: EvaluationSplit
  test: EvaluationSplit | None
  evaluate: object
  encoders: tuple
  per_epoch: int
  out: pathlib.Path

  @property
  def total_steps(self) -> int:
    return round(self.config.train.epochs * self.per_epoch)


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--data', choices=DATA, required=True)
  parser.add_argument('--root', required=True)
  parser.add_argument('--out', type=pathlib.Path)
  parser.add_argument('--init', default='', help='rrsitr: starting weights')
  parser.add_argument('--group', type=int, default=0)
  parser.add_argument('--groups', type=int, default=1)
  options = parser.parse_args()
  logging.set_verbosity(logging.ERROR)
  out = options.out or FOLDER / f'curriculum_{options.data}.jsonl'
  config = study_config(options.data, root=options.root, init=options.init)
  study = prepare(config, out=out)
  all_groups = RRSITR_GROUPS if options.data == 'rrsitr' else GROUPS
  plain_steps = DATA[options.data]['plain_epochs'] * study.per_epoch
  for settings in (FIRST, tuple(SETTINGS)):
    for noise, seed in all_groups[options.group :: options.groups]:
      place = {'noise': noise, 'seed': seed}
      run_group(study, settings, place=place, plain_steps=plain_steps)


def study_config(data: str, *, root: str, init: str = '') -> ConfigDict:
  """A tiny CLIP in `full` mode with the contrastive loss, for two cores.

  With weights to start from, HarMA's adapters on them.
  """
  config = common()
  config.train.epochs = float(DATA[data]['epochs'])
  config.data.update({'root': root, 'threads': 1})
  if init:
    config.init = init
  else:
    config.update(scratch(epochs=config.train.epochs))
    config.model.update({'size': 'tiny-16', 'layers': 'unroll'})
    config.data.update({'cache_side': 96, 'context_length': 20})
  config.train.batch_size = DATA[data]['batch_size']
  config.data.cleaning = 'released'  # of the recorded results, and of HarMA
  config.data.captions_per_image = CAPTIONS
  config.data.test_split = ''
  config.augment.update({'quarter_turns': True, 'rand_augment': (0, 0)})
  plain = DATA[data]['plain_epochs'] / DATA[data]['epochs']
  config.harmonization.update(
    {'pair': 'captions', 'start': plain, 'anneal': (1 - plain) / 4}
  )
  config.harmonization.update({'threshold': (0.0, 0.2), 'threshold_unit': 'share'})
  if data == 'rrsitr':
    config.data.annotations = rrsitr_files(0.0)
    config.data.match = 'name'  # their paths begin with a folder of the authors
    config.data.test_split = 'test'
  if data == 'scenes':
    config.data.context_length = 24
    config.data.scenes.update({'style': 'summer', 'train': 1500, 'val': 300})
    # The captions name sides, which flips and turns would make false.
    config.augment.update({'crop_scale': (0.9, 1.0), 'flip': False})
    config.augment.quarter_turns = False
  return config


def rrsitr_files(noise: float) -> str:
  """The published tables of all splits, at a share of permuted captions."""
  return f'RSITMD-NC-{round(10 * noise):02}.csv,rsitmd_val.csv,rsitmd_test.csv'


def prepare(config: ConfigDict, *, out: pathlib.Path) -> Study:
  config = resolve(config, workdir=out.with_suffix(''))
  model, mesh = build_model(config), make_mesh()
  table = build_table(config, 'train')
  pixels, _ = build_pixels(config, table)
  splits = {
    split: build_evaluation_split(config, build_table(config, split), model)
    for split in filter(None, ('val', config.data.test_split))
  }
  return Study(
    config=config,
    model=model,
    pixels=pixels,
    val=splits['val'],
    test=splits.get('test'),
    evaluate=make_evaluator(model, mesh=mesh, batch_size=256),
    encoders=make_encoders(model, mesh=mesh, batch_size=256),
    per_epoch=table.n_images // config.train.batch_size,
    out=out,
  )


def run_group(
  study: Study, settings: tuple[str, ...], *, place: dict, plain_steps: int
) -> None:
  """The shared plain epochs of one noise and seed, then every setting."""
  done = {
    row['setting']
    for row in read_rows(study.out)
    if place.items() <= row.items() and row['kind'] == 'end'
  }
  if done >= set(settings):
    return
  noise, seed = place['noise'], place['seed']
  table, wrong = noisy_captions(study, noise=noise, seed=seed)
  length = context_length(study.config, study.model)
  cleaning = study.config.data.cleaning
  tokens = tokenize_table(table, cleaning=cleaning, context_length=length)
  group = functools.partial(run, study, tokens=tokens, wrong=wrong, place=place)
  shared = group(
    'plain', start_state(study, seed=seed), last_step=plain_steps, log=not done
  )
  for setting in settings:
    if setting not in done:
      start = time.monotonic()
      state = group(setting, shared, last_step=study.total_steps, log=True)
      account = {name: np.asarray(sums) for name, sums in state.curriculum.items()}
      end = {
        'kind': 'end',
        'setting': setting,
        'seconds': round(time.monotonic() - start, 1),
        **drop_rates(account, wrong),
      }
      write_row(study.out, place | end)


def noisy_captions(
  study: Study, *, noise: float, seed: int
) -> tuple[CaptionTable, np.ndarray]:
  """The training captions at a share of noise, and bool[n]: which are wrong."""
  clean = study.pixels.table
  if not study.test:
    return swap_captions(clean, share=noise, seed=seed)
  config = study.config.copy_and_resolve_references()
  config.data.annotations = rrsitr_files(noise)
  table = build_table(config, 'train')
  return table, compare_tables(table, clean).wrong


def start_state(study: Study, *, seed: int) -> TrainState:
  if study.config.init:
    config = study.config.copy_and_resolve_references()
    config.seed = seed
    params, _ = build_params(config, study.model, init=config.init)
  else:
    params = init_params(study.model, jax.random.key(seed))
  optimizer, _ = build_optimizer(study.config, total_steps=study.total_steps)
  n_captions = study.pixels.table.n_captions
  return build_state(study.config, params, optimizer, n_captions=n_captions)


def run(
  study: Study,
  setting: str,
  state: TrainState,
  *,
  tokens: np.ndarray,
  wrong: np.ndarray,
  place: dict,
  last_step: int,
  log: bool,
) -> TrainState:
  """Trains `state` on to `last_step`; measures at every epoch's end."""
  step_fn = compiled_step(study, setting, seed=place['seed'])
  for step, batch in enumerate(
    batches(study, tokens, seed=place['seed'], first=int(state.step), last=last_step),
    start=int(state.step) + 1,
  ):
    state, _ = step_fn(state, batch)
    if step % study.per_epoch == 0 and log:
      place = place | {'epoch': step // study.per_epoch}
      recall = study.evaluate(state.params, study.val)
      row = {'kind': 'recall', 'setting': setting, **recall}
      write_row(study.out, place | row)
      if study.test:
        recall = study.evaluate(state.params, study.test)
        write_row(study.out, place | row | recall | {'kind': 'test'})
      if setting == 'plain' and place['noise']:
        for row in areas(study, state.params, tokens=tokens, wrong=wrong):
          write_row(study.out, place | row)
  return state


_COMPILED = {}


def compiled_step(study: Study, setting: str, *, seed: int):
  """The step of a setting; `random` has the run's seed, the others one for all."""
  key = (setting, seed if setting == 'drop at random' else 0)
  if key not in _COMPILED:
    config = study.config.copy_and_resolve_references()
    config.harmonization.update(SETTINGS[setting])
    config.seed = key[1]
    total = study.total_steps
    optimizer, schedule = build_optimizer(config, total_steps=total)
    step = build_step(config, study.model, optimizer, schedule, total_steps=total)
    _COMPILED[key] = jax.jit(step)
  return _COMPILED[key]


def batches(
  study: Study, tokens: np.ndarray, *, seed: int, first: int, last: int
) -> Iterator[dict]:
  inputs = augmenting(study)
  for batch, _ in train_batches(
    study.pixels.table,
    tokens,
    pixels=study.pixels,
    seed=seed,
    batch_size=study.config.train.batch_size,
    first_step=first,
    last_step=last,
    captions_per_image=CAPTIONS,
    threads=1,
  ):
    yield inputs({'tokens': tokens}, batch)


@functools.cache
def augmenting_of(side: int, settings: str):
  config = common()
  config.augment.update(json.loads(settings))
  return jax.jit(build_inputs(config, side=side, mesh=make_mesh()))


def augmenting(study: Study):
  settings = study.config.augment.to_json()
  return augmenting_of(study.model.size.image_size, settings)


def drop_rates(account: dict, wrong: np.ndarray) -> dict:
  """How often swapped and other captions were dropped, of the times they were seen."""
  return {
    f'dropped_{name}': float(account['dropped'][rows].sum() / seen)
    for name, rows in (('wrong', wrong), ('right', ~wrong))
    if (seen := account['seen'][rows].sum())
  }


def areas(
  study: Study, params: dict, *, tokens: np.ndarray, wrong: np.ndarray
) -> list[dict]:
  """ROC AUC of every indicator at finding swapped captions, on training images."""
  rng = np.random.default_rng(0)
  n_images = study.pixels.table.n_images
  images = np.sort(rng.permutation(n_images)[: min(JUDGED_IMAGES, n_images)])
  rows = captions_of(study.pixels.table, images, rng)
  texts, which = np.unique(tokens, axis=0, return_inverse=True)
  encode_image, encode_text = study.encoders
  used, back = np.unique(which.ravel()[rows], return_inverse=True)
  text_features = encode_text(params, texts[used])[back.reshape(rows.shape)]
  all_images = images_of(study.pixels.table, study.model.size.image_size)
  image_features = encode_image(params, all_images[images])
  found = judge(
    image_features,
    text_features,
    logits=Logits(jnp.float32(params['temperature'])),
    batch_size=study.config.train.batch_size,
  )
  alone = is_alone(which.ravel()[rows])
  return [row for n in found for row in areas_of(n, found[n], wrong[rows], alone)]


def captions_of(table: CaptionTable, images: np.ndarray, rng) -> np.ndarray:
  """i64[n, 5]: the rows of the images' captions, each image's in random order."""
  order = np.argsort(table.caption_image, kind='stable')
  first = np.searchsorted(table.caption_image[order], images)
  return np.stack([order[start + rng.permutation(CAPTIONS)] for start in first])


@functools.lru_cache(maxsize=1)
def images_of(table: CaptionTable, side: int) -> np.ndarray:
  """All training images, as they are evaluated."""
  return np.concatenate(list(image_batches(table, side=side, batch_size=256)))


def is_alone(texts: np.ndarray) -> dict[int, np.ndarray]:
  """For 5 and for the first 2 captions i64[n, 5]: bool[M, n], no other has the text."""
  return {
    n: np.array([[np.sum(own[:n] == own[k]) == 1 for own in texts] for k in range(n)])
    for n in (CAPTIONS, 2)
  }


def read_rows(path: pathlib.Path) -> list[dict]:
  return [json.loads(line) for line in path.open()] if path.exists() else []


def write_row(path: pathlib.Path, row: dict) -> None:
  with path.open('a') as file:
    file.write(json.dumps(row) + '\n')


if __name__ == '__main__':
  main()
