"""Prints the tables of a study by benchmarks/curriculum.py, as Markdown.

python -m benchmarks.curriculum_tables benchmarks/results/curriculum_rsicd.jsonl
"""

import collections
import itertools
import json
import pathlib
import sys

import numpy as np


def main(*paths: str) -> None:
  lines = [
    line for path in paths for line in pathlib.Path(path).read_text().split('\n')
  ]
  rows = [json.loads(line) for line in lines if line]
  ended = {key(row) for row in rows if row['kind'] == 'end'}
  recalls = [row for row in rows if row['kind'] == 'recall' and key(row) in ended]
  areas = [row for row in rows if row['kind'] == 'area']
  print(*recall_table(recalls), '', *drop_table(rows), sep='\n')
  tests = [row for row in rows if row['kind'] == 'test' and key(row) in ended]
  if tests:
    print('', 'test, at the epoch that is best on val', '', sep='\n')
    print(*recall_table(selected(tests, recalls)), sep='\n')
  for noise, n in itertools.product(sorted({row['noise'] for row in areas}), (5, 2, 1)):
    chosen = [row for row in areas if (row['noise'], row['captions']) == (noise, n)]
    if chosen:
      print('', f'{noise:.0%} swapped, {n} captions an image', '', sep='\n')
      print(*area_table(chosen), sep='\n')


def key(row: dict) -> tuple:
  return row['noise'], row['seed'], row['setting']


def selected(tests: list[dict], recalls: list[dict]) -> list[dict]:
  """Of each run the row of the test split at its best epoch on val, as the last."""
  best = {}
  for row in recalls:
    if key(row) not in best or row['mean_recall'] > best[key(row)]['mean_recall']:
      best[key(row)] = row
  last = max(row['epoch'] for row in recalls)
  return [
    row | {'epoch': last} for row in tests if row['epoch'] == best[key(row)]['epoch']
  ]


def recall_table(rows: list[dict]) -> list[str]:
  """Mean recall of the last epoch: over seeds, and against plain of the same seed."""
  last = max(row['epoch'] for row in rows)
  found = {key(row): row['mean_recall'] for row in rows if row['epoch'] == last}
  levels = sorted({noise for noise, _, _ in found})
  settings = list(dict.fromkeys(setting for _, _, setting in found))
  lines = head('setting', *(f'{noise:.0%} swapped | - plain' for noise in levels))
  for setting in settings:
    cells = [setting]
    for noise in levels:
      runs = {
        s: r for (n, s, name), r in found.items() if (n, name) == (noise, setting)
      }
      gains = [
        recall - found[noise, seed, 'plain']
        for seed, recall in runs.items()
        if (noise, seed, 'plain') in found
      ]
      cells += [spread(list(runs.values())), spread(gains, sign='+')]
    lines.append(line(cells))
  return lines


def drop_table(rows: list[dict]) -> list[str]:
  """Of the captions seen, how many of the swapped and of the others were dropped."""
  rows = [row for row in rows if row['kind'] == 'end']
  lines = head('setting', 'swapped', 'swapped: dropped', 'others: dropped')
  for (noise, setting), group in groups(rows, 'noise', 'setting').items():
    shares = [
      [row[name] for row in group if name in row]
      for name in ('dropped_wrong', 'dropped_right')
    ]
    if any(map(np.any, shares)):
      lines.append(line([setting, f'{noise:.0%}', *map(percent, shares)]))
  return lines


def area_table(rows: list[dict]) -> list[str]:
  """ROC AUC after each epoch, over all captions and over different texts only."""
  epochs = sorted({row['epoch'] for row in rows})
  subsets = list(dict.fromkeys(row['subset'] for row in rows))
  columns = list(itertools.product(subsets, epochs))
  lines = head('indicator', *(f'{subset}, epoch {epoch}' for subset, epoch in columns))
  for (indicator,), group in groups(rows, 'indicator').items():
    found = groups(group, 'subset', 'epoch')
    cells = [spread([row['auc'] for row in found.get(at, [])]) for at in columns]
    lines.append(line([indicator, *cells]))
  return lines


def groups(rows: list[dict], *names: str) -> dict[tuple, list[dict]]:
  found = collections.defaultdict(list)
  for row in rows:
    found[tuple(row[name] for name in names)].append(row)
  return found


def spread(values: list[float], *, sign: str = '') -> str:
  """`mean ± sample deviation (n)`; the deviation needs two."""
  if not values:
    return 'not measured'
  deviation = f' ± {np.std(values, ddof=1):.2f}' if len(values) > 1 else ''
  return f'{np.mean(values):{sign}.2f}{deviation} ({len(values)})'


def percent(values: list[float]) -> str:
  return f'{np.mean(values):.0%}' if values else '-'


def head(*cells: str) -> list[str]:
  width = sum(cell.count('|') + 1 for cell in cells)
  return [line(cells), line(['---'] * width)]


def line(cells) -> str:
  return f'| {" | ".join(cells)} |'


if __name__ == '__main__':
  main(*sys.argv[1:])
