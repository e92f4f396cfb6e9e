"""The help of a command: what its module says and its own flags, in the width given."""

import types

import pytest
from absl import flags

from harma_jax.cli import shared_flags
from harma_jax.cli.help import asks_for_help, help_of

DOCUMENTATION = """Measures things.

A paragraph that is long enough to be written in several lines, however wide they are
in the docstring, with a-hyphen.

Examples:
  harma-jax measure --number=3
"""


@pytest.fixture
def command(monkeypatch):
  """A module with flags of every kind; a library has one too."""
  values = flags.FlagValues()
  monkeypatch.setattr(flags, 'FLAGS', values)
  flags.DEFINE_integer('number', 20, 'How many.', flag_values=values)
  flags.DEFINE_bool('strict', False, 'Be strict.', flag_values=values)
  flags.DEFINE_list('seeds', None, 'Of runs.', flag_values=values)
  kinds = ('alpha', 'beta', 'gamma', 'delta')
  flags.DEFINE_enum('kind', 'beta', kinds, 'Of things.', flag_values=values)
  flags.DEFINE_string('out', None, 'word ' * 10, flag_values=values)
  flags.DEFINE_string(
    'jax_thing', 'x', 'Not ours.', flag_values=values, module_name='jax'
  )
  return types.ModuleType(__name__, DOCUMENTATION)


def test_it_has_what_the_module_says_and_its_flags(command):
  assert help_of(command, width=60).splitlines() == [
    'Measures things.',
    '',
    'A paragraph that is long enough to be written in several',
    'lines, however wide they are in the docstring, with',
    'a-hyphen.',
    '',
    'Examples:',
    '  harma-jax measure --number=3',
    '',
    'Flags:',
    '  --out=...               word word word word word word word',
    '                          word word word',
    '  --number=N              How many. Default: 20.',
    '  --[no]strict            Be strict.',
    '  --seeds=A,B             Of runs.',
    '  --kind=alpha|beta|gamma|delta',
    '                          Of things. Default: beta.',
  ]


def test_a_module_without_words_or_flags_has_no_help(monkeypatch):
  monkeypatch.setattr(flags, 'FLAGS', flags.FlagValues())
  assert help_of(types.ModuleType('nothing'), width=60) == ''


@pytest.mark.parametrize(
  ('words', 'asks'),
  [
    ([], False),
    (['--number=3', '--help'], True),
    (['query', '-h'], True),
    (['--helpfull'], False),
    (['query', '--', '-h'], False),
  ],
)
def test_help_may_be_asked_for_anywhere(words, asks):
  assert asks_for_help(['command', *words]) == asks


def test_every_command_that_takes_a_shared_flag_shows_it():
  taken = [shared_flags.shared_flag('images') for _ in range(2)]
  assert taken[0] is taken[1]
  found = flags.FLAGS.get_key_flags_for_module(__name__)
  assert [flag.name for flag in found] == ['images']
