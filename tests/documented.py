"""What the pages say that a command says, read out of the pages, as patterns.

Of a documented message `[...]` and `...` stand for what is left out, FOLDER for a path,
and numbers, sizes in bytes with their unit, for any others. The rest is word for word,
from beginning to end.
"""

import pathlib
import re
from collections.abc import Iterator
from typing import NamedTuple

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
PAGES = [REPOSITORY / 'README.md', *sorted((REPOSITORY / 'docs').glob('*.md'))]

_NUMBER = r'\d+(?:[.,]\d+)*(?:e[+-]?\d+)?(?: [KMG]iB)?'
_EXAMPLES = {'gap': r'\[?\.\.\.\]?', 'path': r'\bFOLDER\b', 'number': _NUMBER}
_MEANT = {'gap': '.*', 'path': r'\S+', 'number': _NUMBER}
_PIECES = re.compile('|'.join(f'(?P<{name}>{of})' for name, of in _EXAMPLES.items()))

_TROUBLE = '| what | message |'  # the head of the table of what goes wrong
_SAID = re.compile(r'(Expected|error:) |Interrupted\W|expected .*found |: found ')
_LINE = re.compile(r'    (\S+: \S.*)')
_CELLS = re.compile(r'    │(.*)│(.*)│')


class Documented(NamedTuple):
  """A message or a line of a screen that a page has.

  Attributes:
    page: its name.
    text: as it stands there.
    label: of a line of a table on the screen, its first cell.
  """

  page: str
  text: str
  label: str = ''

  def is_said_by(self, said: str) -> bool:
    """Whether `said` is the documented text, with other examples in it."""
    return re.fullmatch(pattern_of(self.text), said, re.DOTALL) is not None


def pattern_of(text: str) -> str:
  """The regular expression of what a page means by `text`."""
  pattern, end = '', 0
  for piece in _PIECES.finditer(text):
    pattern += re.escape(text[end : piece.start()]) + _MEANT[piece.lastgroup]
    end = piece.end()
  return pattern + re.escape(text[end:])


def documented(page: pathlib.Path) -> list[Documented]:
  """All that a page says that a command says, in its order, each once."""
  found = [*_messages(page.read_text()), *screen_lines(page.read_text())]
  return [Documented(page.name, *words) for words in dict.fromkeys(found)]


def _messages(text: str) -> Iterator[tuple[str]]:
  """Of the table of what goes wrong all of them; of the rest what looks like one."""
  in_table, rest = False, []
  for line in text.splitlines():
    in_table = line.startswith(_TROUBLE) or (in_table and line.startswith('|'))
    if in_table:
      yield from ((span,) for span in _spans(line.split('|')[2]))
    elif not line.startswith(('    ', '```')):
      rest.append(line)
  yield from ((span,) for span in _spans('\n'.join(rest)) if _SAID.search(span))


def _spans(text: str) -> Iterator[str]:
  """What stands between backticks and is of several words, on one line or two."""
  spans = (' '.join(span.split()) for span in re.findall('`([^`]+)`', text))
  yield from (span for span in spans if ' ' in span)


def screen_lines(text: str) -> Iterator[tuple[str, ...]]:
  """Lines of a screen in a page: alone, or of a table, put together, with the label."""
  label, words = '', []
  for line in [*text.splitlines(), '']:
    cells = _CELLS.fullmatch(line)
    name, content = (cell.strip() for cell in cells.groups()) if cells else ('', '')
    if words and (name or not cells):
      yield ' '.join(words), label
      words = []
    label = name or label
    if cells:
      words.append(content)
    elif said := _LINE.fullmatch(line):
      yield (said[1],)
