"""The links of the pages lead somewhere, and the commands in them have their flags."""

import importlib
import pathlib
import re

import pytest
from absl import flags

from harma_jax.__main__ import COMMANDS

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
PAGES = [REPOSITORY / 'README.md', *sorted((REPOSITORY / 'docs').glob('*.md'))]
COMMAND = re.compile(r'^    (?:harma-jax (\w+)|python -m (harma_jax[\w.]*))(.*)', re.M)


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)
def test_links_to_files_lead_somewhere(page):
  targets = re.findall(r'\]\(([^)#\s]+)[^)]*\)', page.read_text())
  files = [target for target in targets if '://' not in target]
  assert [file for file in files if not (page.parent / file).exists()] == []


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.name)
def test_commands_have_the_flags_that_they_are_given(page):
  text = page.read_text().replace('\\\n', ' ')  # lines that go on
  assert [
    (module, flag)
    for module, given in commands_of(text)
    for flag in given - flags_of(module)
  ] == []


def commands_of(text):
  """The module of each command in a page, and the names of its flags."""
  for word, module, rest in COMMAND.findall(text):
    given = re.findall(r'(?:^|[\s\[])--(\w+)', rest.split('#')[0])
    yield module or COMMANDS[word][0], set(given)


def flags_of(name):
  module = importlib.import_module(name)
  if hasattr(module, '__path__'):
    module = importlib.import_module(f'{name}.__main__')
  found = flags.FLAGS.get_key_flags_for_module(module)
  return {flag.name for flag in found} | {'help'}


def test_flags_are_found_on_all_lines_of_a_command():
  text = '    harma-jax search query "a pier" \\\n      --top=5 [--nonsense=1]\n'
  [(module, given)] = commands_of(text.replace('\\\n', ' '))
  assert given - flags_of(module) == {'nonsense'}
