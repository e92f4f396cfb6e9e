"""What is right in cases of data sets, beside those of `benchmarks.case_checks`.

The commands are `data check`, training's dry run and `classify`.
"""

import json
import pathlib
import re
from collections.abc import Iterator

from benchmarks.commands import Check, Printed, Program


def check_restval(case: pathlib.Path, program: Program) -> Iterator[Check]:
  """Karpathy's `restval` is training data, and that is said."""
  printed = _checked(case, program)
  yield _whole(printed, 'all 40 captions of train and restval', train=(8, 40))
  yield Check(
    'that restval is training data is said',
    _line_of(printed, 'restval'),
    'are training data' in _line_of(printed, 'restval'),
  )
  printed = _checked(case, program, '--restval=false')
  yield _whole(printed, '--restval=false: 15 captions', train=(3, 15))
  printed = program.call(
    'main',
    '--config=methods.py:zero_shot:rsicd:tiny',
    f'--config.init={program.run}/pretrain',
    '--config.model.size=tiny-16',
    f'--config.data.root={case}',
    *('--config.train.batch_size=3', '--config.train.epochs=1'),
    *('--dry_run', '--workdir=run'),
  )
  steps = ' '.join(printed.rows('steps'))
  yield Check(
    'training has 13 steps of 3 pairs',
    f'exit {printed.code}, steps: {steps or printed.last_message}',
    printed.code == 0 and steps.startswith('13'),
  )


def check_nwpu(case: pathlib.Path, program: Program) -> Iterator[Check]:
  """NWPU-Captions' own form is read, with all five captions of an image."""
  printed = _checked(case, program)
  yield _whole(printed, 'read, five captions an image', train=(8, 40), test=(2, 10))


def check_open_clip(case: pathlib.Path, program: Program) -> Iterator[Check]:
  """A table with a tab between `filepath` and `title` is read, though called .csv."""
  printed = _checked(case, program)
  yield _whole(printed, 'read', train=(12, 12))
  said = _line_of(printed, 'image=filepath')
  yield Check('what was taken for what is said', said, 'caption=title' in said)


def check_long_captions(case: pathlib.Path, program: Program) -> Iterator[Check]:
  """Words after the 30th count, unless HarMA's way of cleaning is asked for."""
  printed = _checked(case, program, '--strict')
  sound = _cleaning_of(printed, 'sound')
  yield Check(
    'by default: none cut, none made equal, no repetition',
    f'exit {printed.code}; cut {sound[0]}, made equal {sound[2]}',
    printed.code == 0 and sound[0] == sound[2] == 0,
  )
  printed = _checked(case, program, '--cleaning=released')
  released = _cleaning_of(printed, 'released')
  yield Check(
    '--cleaning=released: what is cut and made equal is counted and warned of',
    f'cut {released[0]}, made equal {released[2]}; '
    f'{_line_of(printed, "captions that are cut").strip("│ ").split("  ")[0]}',
    released[0] == released[2] == 30 and 'captions that are cut' in printed.out,
  )


def check_class_names(case: pathlib.Path, program: Program) -> Iterator[Check]:
  """Names that run together are classified as those of capitals, or warned of."""
  model = f'--workdir={program.run}'
  accuracy = {}
  for name, flags in {
    'aid_style': (),
    'ucm_style': (),
    'ucm_style, names.tsv': (f'--classes={case / "names.tsv"}',),
  }.items():
    images = f'--images={case / name.partition(",")[0]}'
    out = program.new('classes.json')
    printed = program.call('classify', model, images, f'--out={out}', *flags)
    if printed.code:
      raise RuntimeError(printed.messages)
    value = json.loads(out.read_text())['model']['top1']['value']
    accuracy[name] = f'{value:.1f} %'
    if name == 'ucm_style':
      warning = _line_of(printed, 'cropfields', of=printed.messages)
  capitals = accuracy['aid_style']
  yield Check(
    f'ucm_style with the words of names.tsv: top-1 of aid_style ({capitals})',
    accuracy['ucm_style, names.tsv'],
    accuracy['ucm_style, names.tsv'] == capitals,
  )
  yield Check(
    'ucm_style without: what no table knows is warned of, with the remedy',
    f'top-1 {accuracy["ucm_style"]}; {warning}',
    'cropfields' in warning and '--classes' in warning,
  )


def _checked(case: pathlib.Path, program: Program, *flags: str) -> Printed:
  return program.call('data', 'check', f'--source={case}', *flags)


def _whole(printed: Printed, asked: str, **splits: tuple[int, int]) -> Check:
  """That a source has no errors, and so many images and captions."""
  found = {
    split: tuple(map(int, counts))
    for split, *counts in re.findall(r'│ (\w+) +│ +(\d+) │ +(\d+) │ [a-z]', printed.out)
  }
  said = ', '.join(f'{split} {counts[1]}' for split, counts in found.items())
  right = all(found.get(split) == counts for split, counts in splits.items())
  return Check(
    asked,
    f'exit {printed.code}; captions: {said or printed.last_message}',
    printed.code == 0 and 'errors: 0' in printed.out and right,
  )


def _cleaning_of(printed: Printed, name: str) -> list[int]:
  """The counts of a way to clean: cut, glued, made equal, empty."""
  line = _line_of(printed, f'│ {name} ')
  return [int(cell) for cell in re.findall(r'\d+', line)] or [-1] * 4


def _line_of(printed: Printed, words: str, *, of: str = '') -> str:
  """The first line that has some words, of messages and output."""
  lines = (of or f'{printed.messages}\n{printed.out}').splitlines()
  return next((line.strip() for line in lines if words in line), 'nothing')


CHECKS_OF_DATA = {
  'restval': check_restval,
  'nwpu_json': check_nwpu,
  'open_clip_csv': check_open_clip,
  'captions_over_30_words': check_long_captions,
  'class_names_ucm': check_class_names,
}
