"""Every method of configs/methods.py, from one pre-trained CLIP, over several seeds.

  python -m benchmarks.methods --config=configs/rsitmd.py --out=FILE.json
    [--config.any.field=value] [--methods=lora,full] [--seeds=0,1,2]
    [--search=1e-4,1e-3] [--rates=full=1e-4,lora=1e-3] [--workdir=FOLDER]

The config is one for HarMA; its pretraining, if it has one, is done once. With
`--search` each method trains with each of these learning rates, with the first seed,
and keeps the one that is best on `data.val_split`; `--rates` sets them instead. Then
each trains with each seed, and the weights of the last step are evaluated on
`data.test_split`, which selects nothing. Runs go to folders of `--workdir`; FILE.json
and a table in FILE.md grow run by run, and the same command goes on after a stop.
"""

import dataclasses
import itertools
import json
import pathlib
import statistics
from collections.abc import Mapping, Sequence

import jax
import numpy as np
from absl import flags, logging
from ml_collections import ConfigDict

from benchmarks.methods_table import RANKS_FILE, markdown, summaries
from harma_jax import cli
from harma_jax.building.data import build_table
from harma_jax.building.model import build_model
from harma_jax.building.stages import stages
from harma_jax.building.step import build_optimizer, state_shapes
from harma_jax.configs.methods import METHODS, set_method
from harma_jax.errors import UserError, expect
from harma_jax.evaluation.recall import Ranks, recall_of_ranks
from harma_jax.results.comparison import Run, ranks_of_run
from harma_jax.rundir.workdir import (
  METRICS_FILE,
  PRETRAIN,
  RESULTS_FILE,
  read_config,
  replace_text,
)
from harma_jax.stepping.optim import count
from harma_jax.training.loop import train
from harma_jax.training.seeds import parse_seeds

SEEDS = ('0', '1', '2')

# As `main` has them: one program may import both.
_CONFIG = cli.shared_flag('config')
_WORKDIR = cli.shared_flag('workdir')
_OUT = cli.shared_flag('out')
_SEEDS = flags.DEFINE_list(
  'seeds', None, 'Each method trains with each. Default: 0,1,2.', allow_override=True
)
_METHODS = flags.DEFINE_list('methods', list(METHODS), 'Of configs/methods.py.')
_SEARCH = flags.DEFINE_list('search', [], 'Learning rates to choose from.')
_RATES = flags.DEFINE_list('rates', [], 'Learning rates that are known: METHOD=RATE.')


def main(argv: Sequence[str]) -> None:
  """Runs what the command line names and is not there yet."""
  cli.no_arguments(argv)
  base, path = cli.read_config_flag(_CONFIG.name)
  if not _OUT.value:
    raise UserError('Expected --out=FILE.json; found none. --help shows more.')
  out = pathlib.Path(_OUT.value)
  folder = pathlib.Path(_WORKDIR.value or f'workdir/{out.stem}')
  methods, seeds = _METHODS.value, parse_seeds(_SEEDS.value or SEEDS)
  rates, search = read_rates(_RATES.value), read_search(_SEARCH.value, base)
  for method in methods:
    set_method(base.copy_and_resolve_references(), method)
  results = read_results(out, about=about(base, path=path))
  study = Study(base=pretrained(base, folder=folder), out=out, folder=folder)
  searched = [m for m in methods if m not in rates and 'train.epochs' not in METHODS[m]]
  for method, rate in itertools.product(searched, search):
    study.search(results, method, rate=rate, seed=seeds[0])
  rates = best_rates(results['searches']) | rates
  for seed, method in itertools.product(seeds, methods):
    rate = rates.get(method, base.optimizer.learning_rate)
    study.run(results, method, rate=rate, seed=seed)
  print(markdown(results))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Study:
  """Trains and evaluates; every result goes to a file at once.

  Attributes:
    base: a config for HarMA, without a pretraining.
    out: FILE.json.
    folder: of the runs' work folders.
  """

  base: ConfigDict
  out: pathlib.Path
  folder: pathlib.Path

  def search(self, results: dict, method: str, *, rate: float, seed: int) -> None:
    """Adds the mean recall on `val_split` to `searches`, unless it is there."""
    scores = results['searches'].setdefault(method, {})
    if f'{rate:g}' not in scores:
      config = run_config(self.base, method, seed=seed, rate=rate)
      ranks = self._ranks(config, method, split=self.base.data.val_split)
      scores[f'{rate:g}'] = recall_of_ranks(ranks)['mean_recall']
      write_results(self.out, results, folder=self.folder)

  def run(self, results: dict, method: str, *, rate: float, seed: int) -> None:
    """Adds a row to `runs`, unless it is there; one of another rate is replaced."""
    same = [row for row in results['runs'] if is_run(row, method, seed)]
    if any(row['learning_rate'] == rate for row in same):
      return
    config = run_config(self.base, method, seed=seed, rate=rate)
    ranks = self._ranks(config, method, split=self.base.data.test_split)
    workdir = self.folder / run_name(config, method)
    np.savez_compressed(workdir / RANKS_FILE, **ranks)
    results['runs'] = [row for row in results['runs'] if row not in same]
    results['runs'].append(row_of(method, ranks, workdir=workdir))
    write_results(self.out, results, folder=self.folder)

  def _ranks(self, config: ConfigDict, method: str, *, split: str) -> Ranks:
    """Trains unless that has been finished; the ranks of all queries of a split."""
    workdir = self.folder / run_name(config, method)
    if not (workdir / RESULTS_FILE).is_file():
      logging.info('%s', workdir)
      train(config, workdir=workdir)
    run = Run(folder=str(workdir), config=read_config(workdir))
    table = build_table(self.base, split)  # the run's own config names no `val_split`
    ranks = ranks_of_run(run, tables={split: table})[split]['standard']
    jax.clear_caches()  # of this run's programs: the next ones' are others
    return ranks | {'caption_image': table.caption_image}


def pretrained(config: ConfigDict, *, folder: pathlib.Path) -> ConfigDict:
  """`config` as it starts from its pretraining, which is done unless it has been."""
  *first, last = stages(config, workdir=folder).items()
  for workdir, stage in first:
    if not (workdir / RESULTS_FILE).is_file():
      train(stage, workdir=workdir)
  base = last[1].copy_and_resolve_references()
  with base.unlocked():
    if PRETRAIN in base:
      del base[PRETRAIN]
    base.init = str(first[0][0]) if first else base.init
  return base.lock()


def run_config(base: ConfigDict, method: str, *, seed: int, rate: float) -> ConfigDict:
  """The config of a run; nothing but the last step is selected."""
  config = set_method(base.copy_and_resolve_references(), method)
  config.seed, config.optimizer.learning_rate = seed, rate
  config.train.on_nonfinite = 'skip'  # a rate that is too high is to lose, not to end
  config.data.val_split = ''
  return config.lock()


def run_name(config: ConfigDict, method: str) -> str:
  """The name of a run's folder."""
  return f'{method}-{config.optimizer.learning_rate:g}-{config.seed}'


def read_rates(words: Sequence[str]) -> dict[str, float]:
  """Learning rates by method, of words METHOD=RATE.

  Raises:
    UserError: another form, or no method.
  """
  try:
    rates = {name: float(rate) for name, rate in (word.split('=') for word in words)}
  except ValueError as error:
    raise UserError(
      f'--rates: expected METHOD=RATE with commas between; found {",".join(words)}.'
    ) from error
  expect(rates.keys() <= METHODS.keys(), 'rates', 'names of methods', found=list(rates))
  return rates


def read_search(words: Sequence[str], config: ConfigDict) -> list[float]:
  """Learning rates to choose from.

  Raises:
    UserError: no numbers, or no split to choose on beside the one that is reported.
  """
  try:
    rates = [float(word) for word in words]
  except ValueError as error:
    raise UserError(
      f'--search: expected numbers with commas between; found {",".join(words)}.'
    ) from error
  if rates and config.data.val_split in ('', config.data.test_split):
    raise UserError(
      '--search: expected data.val_split to choose on, and another data.test_split; '
      f'found {config.data.val_split!r} and {config.data.test_split!r}.'
    )
  return rates


def best_rates(searches: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
  """The learning rate of the best mean recall of each method."""
  return {
    method: float(max(scores, key=scores.get)) for method, scores in searches.items()
  }


def is_run(row: Mapping, method: str, seed: int) -> bool:
  """Whether a row of the results is that of a method and seed."""
  return (row['method'], row['seed']) == (method, seed)


def row_of(method: str, ranks: Ranks, *, workdir: pathlib.Path) -> dict:
  """What the results keep of a finished run."""
  config = read_config(workdir)
  steps = json.loads((workdir / RESULTS_FILE).read_text())['steps']
  seconds = seconds_per_step(workdir, batch_size=config.train.batch_size)
  return {
    'method': method,
    'seed': config.seed,
    'run': workdir.name,
    'learning_rate': config.optimizer.learning_rate,
    'trainable': trainable(config),
    'steps': steps,
    'seconds_per_step': seconds,
    'seconds': seconds and seconds * steps,
    'recall': recall_of_ranks(ranks),
  }


def trainable(config: ConfigDict) -> int:
  """How many weights train."""
  if not config.train.epochs:
    return 0
  optimizer, _ = build_optimizer(config, total_steps=1)
  return count(state_shapes(config, build_model(config), optimizer).trainable)


def seconds_per_step(workdir: pathlib.Path, *, batch_size: int) -> float | None:
  """The median of the logged rates, without compilation and evaluation."""
  rows = map(json.loads, (workdir / METRICS_FILE).read_text().splitlines())
  rates = [row['pairs_per_second'] for row in rows if row['kind'] == 'train']
  return batch_size / statistics.median(rates) if rates else None


def about(config: ConfigDict, *, path: str) -> dict:
  """What all runs of one file share."""
  return {
    'config': pathlib.Path(path).name,
    'data': pathlib.Path(config.data.root).name,
    'init': pathlib.Path(config.init).name,
    'size': config.model.size,
    'search_split': config.data.val_split,
    'hold_out': config.data.hold_out,
    'split': config.data.test_split,
    'epochs': config.train.epochs,
    'batch_size': config.train.batch_size,
    'device': f'{jax.device_count()} {jax.devices()[0].platform}',
    'jax': jax.__version__,
  }


def read_results(out: pathlib.Path, *, about: dict) -> dict:
  """What FILE.json holds, or nothing yet.

  Raises:
    UserError: it holds runs that differ in `about`.
  """
  if not out.is_file():
    return {'about': about, 'searches': {}, 'runs': [], 'methods': {}}
  results = json.loads(out.read_text())
  if results['about'] != about:
    raise UserError(
      f'--out: expected a new file, or one with runs of {about}; found {out} with '
      f'{results["about"]}. Give another --out.'
    )
  return results


def write_results(out: pathlib.Path, results: dict, *, folder: pathlib.Path) -> None:
  """Writes both files, with what can be compared now."""
  results['methods'] |= summaries(results['runs'], folder=folder)
  out.parent.mkdir(parents=True, exist_ok=True)
  replace_text(out, json.dumps(results, indent=2) + '\n')
  replace_text(out.with_suffix('.md'), markdown(results))


if __name__ == '__main__':
  farewell = cli.Farewell('Interrupted. The same command goes on.')
  cli.run(main, farewell=lambda: farewell, compiles=True)
