"""Every method of configs/methods.py, from one pre-trained CLIP, over several seeds.

  python -m benchmarks.methods --root=RSICD --init=RUN --out=FILE.json
    [--seeds=0,1,2] [--methods=lora,full] [--on=rsicd:tiny] [--epochs=2]
    [--rates=full=1e-4,lora=1e-3] [--workdir=FOLDER]

Trains one after the other, in folders of `--workdir`, what is neither in FILE.json nor
finished in its folder; the same command goes on. The last step's weights are evaluated
on `val`, which selects nothing. FILE.json and a table in FILE.md grow run by run.
"""

import itertools
import json
import operator
import pathlib
import statistics
from collections.abc import Mapping, Sequence

import jax
import numpy as np
from absl import flags, logging
from ml_collections import ConfigDict

from configs.methods import METHODS, get_config
from harma_jax import cli
from harma_jax.build import build_model, build_optimizer, state_shapes
from harma_jax.build_data import build_table
from harma_jax.compare import Run, ranks_of_run, seed_test
from harma_jax.errors import UserError, expect
from harma_jax.evaluation.bootstrap import mean_intervals, recall_differences
from harma_jax.evaluation.recall import Ranks, recall_of_ranks
from harma_jax.metrics import RECALLS
from harma_jax.optim import count
from harma_jax.seeds import parse_seeds
from harma_jax.train import train
from harma_jax.workdir import METRICS_FILE, RESULTS_FILE, read_config, replace_text

REFERENCES = ('zero_shot', 'full')
RANKS_FILE = 'ranks.npz'
SPLIT = 'val'
SEEDS = ('0', '1', '2')

_ROOT = flags.DEFINE_string('root', '', 'The folder of the data set.')
_INIT = flags.DEFINE_string('init', '', 'Starting weights, of --config.init.')
# As `main` has it: one program may import both.
_SEEDS = flags.DEFINE_list(
  'seeds', None, 'Each method trains with each. Default: 0,1,2.', allow_override=True
)
_METHODS = flags.DEFINE_list('methods', list(METHODS), 'Of configs/methods.py.')
_ON = flags.DEFINE_string('on', 'rsicd:tiny', 'CONFIG of configs/methods.py.')
_EPOCHS = flags.DEFINE_float('epochs', None, 'Default: those of the config.')
_RATES = flags.DEFINE_list('rates', [], 'Learning rates: METHOD=RATE.')


def main(argv: Sequence[str]) -> None:
  """Runs what the command line names and is not there yet."""
  cli.no_arguments(argv)
  for flag in (_ROOT, _INIT, cli.OUT):
    if not flag.value:
      raise UserError(f'Expected --{flag.name}=...; found none. --help shows more.')
  out = pathlib.Path(cli.OUT.value)
  folder = pathlib.Path(cli.WORKDIR.value or f'workdir/{out.stem}')
  rates, seeds = read_rates(_RATES.value), parse_seeds(_SEEDS.value or SEEDS)
  results = read_results(out, about=about(run_config('harma', seed=0, rates={})))
  runs = {
    (method, seed): run_config(method, seed=seed, rates=rates)
    for seed, method in itertools.product(seeds, _METHODS.value)
  }
  for (method, seed), config in runs.items():
    if not any(is_run(row, method, seed) for row in results['runs']):
      row = run(config, method, workdir=folder / f'{method}-{seed}')
      results['runs'].append(row)
      write_results(out, results, folder=folder)
  print(markdown(results))


def run_config(method: str, *, seed: int, rates: Mapping[str, float]) -> ConfigDict:
  """The config of a run; `val` stands where a split is evaluated once, at the end."""
  config = get_config(f'{method}:{_ON.value}')
  config.seed, config.init, config.data.root = seed, _INIT.value, _ROOT.value
  config.data.val_split, config.data.test_split = '', SPLIT
  config.optimizer.learning_rate = rates.get(method, config.optimizer.learning_rate)
  if _EPOCHS.value is not None and config.train.epochs:
    config.train.epochs = _EPOCHS.value
  return config.lock()


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


def is_run(row: Mapping, method: str, seed: int) -> bool:
  """Whether a row of the results is that of a method and seed."""
  return (row['method'], row['seed']) == (method, seed)


def run(config: ConfigDict, method: str, *, workdir: pathlib.Path) -> dict:
  """Trains unless that has been finished, and keeps the ranks of all queries."""
  if not (workdir / RESULTS_FILE).is_file():
    logging.info('%s, seed %d, in %s', method, config.seed, workdir)
    train(config, workdir=workdir)
  config = read_config(workdir)
  table = build_table(config, SPLIT)
  of_split = ranks_of_run(
    Run(folder=str(workdir), config=config), tables={SPLIT: table}
  )
  ranks = of_split[SPLIT]['standard']
  np.savez_compressed(workdir / RANKS_FILE, caption_image=table.caption_image, **ranks)
  jax.clear_caches()  # of this run's programs: the next ones' are others
  results = json.loads((workdir / RESULTS_FILE).read_text())
  seconds = seconds_per_step(workdir, batch_size=config.train.batch_size)
  return {
    'method': method,
    'seed': config.seed,
    'learning_rate': config.optimizer.learning_rate,
    'trainable': trainable(config),
    'steps': results['steps'],
    'seconds_per_step': seconds,
    'seconds': seconds and seconds * results['steps'],
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


def about(config: ConfigDict) -> dict:
  """What all runs of one file share."""
  return {
    'config': _ON.value,
    'data': pathlib.Path(config.data.root).name,
    'init': pathlib.Path(config.init).name,
    'split': SPLIT,
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
    return {'about': about, 'runs': [], 'methods': {}}
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


def summaries(runs: Sequence[dict], *, folder: pathlib.Path) -> dict[str, dict]:
  """A summary of each method all of whose ranks are still in `folder`."""
  of_method, ranks = {}, {}
  for row in sorted(runs, key=operator.itemgetter('seed')):
    of_method.setdefault(row['method'], []).append(row)
  for method, rows in of_method.items():
    files = [folder / f'{method}-{row["seed"]}' / RANKS_FILE for row in rows]
    if all(file.is_file() for file in files):
      ranks[method] = {
        row['seed']: dict(np.load(file)) for row, file in zip(rows, files, strict=True)
      }
  return {
    method: summary(of_method[method], ranks[method])
    | {
      f'less_{name}': paired(ranks[name], ranks[method])
      for name in REFERENCES
      if name in ranks and name != method
    }
    for method in ranks
  }


def summary(rows: Sequence[dict], ranks: Mapping[int, Ranks]) -> dict:
  """Mean, deviation over seeds and intervals over queries of a method's recalls."""
  recalls = {name: [row['recall'][name] for row in rows] for name in RECALLS}
  seconds = [row['seconds'] for row in rows if row['seconds']]
  runs = list(ranks.values())
  return {
    'trainable': rows[0]['trainable'],
    'seeds': list(ranks),
    'seconds': statistics.mean(seconds) if seconds else 0.0,
    'mean': {name: statistics.mean(values) for name, values in recalls.items()},
    'deviation': {
      name: statistics.stdev(values) if len(values) > 1 else None
      for name, values in recalls.items()
    },
    'interval': mean_intervals(runs, runs[0]['caption_image']),
  }


def paired(first: Mapping[int, Ranks], second: Mapping[int, Ranks]) -> dict | None:
  """Mean recall of the second method less the first's, over the seeds both have.

  Returns:
    The row of `recall_differences`, with `seeds` and the `over_seeds` of `seed_test`;
    None where no seed is common.
  """
  seeds = [seed for seed in first if seed in second]
  if not seeds:
    return None
  sides = [[side[seed] for seed in seeds] for side in (first, second)]
  rows = recall_differences(*sides, sides[0][0]['caption_image'])
  row = rows['mean_recall'] | {'seeds': seeds}
  if len(seeds) > 1:
    means = [[recall_of_ranks(ranks)['mean_recall'] for ranks in s] for s in sides]
    row['over_seeds'] = seed_test(*means)
  return row


def markdown(results: Mapping) -> str:
  """The table of all methods that have a summary, best mean recall first."""
  methods = results['methods']
  heads = ['method', 'trained', 'seeds', 's', *RECALLS[:-1], 'mR', 'sd', '95 %']
  heads += [f'less {name}' for name in REFERENCES]
  lines = [heads, ['---', *['---:'] * (len(heads) - 1)]]
  order = sorted(methods, key=lambda name: -methods[name]['mean']['mean_recall'])
  lines += [cells(name, methods[name]) for name in order]
  table = '\n'.join(f'| {" | ".join(line)} |' for line in lines)
  return f'{table}\n\n{NOTE}\n'


NOTE = """\
Means over the seeds, in %; `s` is the training time of a run in seconds, without
compilation and evaluation. `sd`, of mR, is over seeds. Brackets are 95 % intervals over
queries, those of differences paired. `*`: the interval excludes 0; `**`: so does that
of Student's paired t-test over the seeds. Not corrected for how many are compared."""


def cells(name: str, row: Mapping) -> list[str]:
  """The line of a method."""
  deviation = row['deviation']['mean_recall']
  low, high = row['interval']['mean_recall']
  return [
    f'`{name}`',
    f'{row["trainable"]:,}',
    ', '.join(map(str, row['seeds'])),
    f'{row["seconds"]:.0f}',
    *(f'{row["mean"][recall]:.1f}' for recall in RECALLS[:-1]),
    f'{row["mean"]["mean_recall"]:.2f}',
    '' if deviation is None else f'{deviation:.2f}',
    f'[{low:.2f}, {high:.2f}]',
    *(difference(row.get(f'less_{reference}')) for reference in REFERENCES),
  ]


def difference(row: Mapping | None) -> str:
  """A paired difference, its interval, and stars where it is significant."""
  if row is None:
    return ''
  over_seeds = row.get('over_seeds') or {'low': None}
  excludes = [excludes_zero(row), excludes_zero(over_seeds)]
  stars = '*' * (excludes[0] + all(excludes))
  return f'{row["difference"]:+.2f} [{row["low"]:+.2f}, {row["high"]:+.2f}]{stars}'


def excludes_zero(interval: Mapping) -> bool:
  """Whether an interval that is there lies on one side of 0."""
  return interval['low'] is not None and interval['low'] * interval['high'] > 0


if __name__ == '__main__':
  cli.run(main, interrupted='Interrupted. The same command goes on.')
