"""What is done to captions, queries and prompts before they become tokens.

How a model's captions were cleaned belongs to it, as its weights do. `sound` reads
every word; `released` is what HarMA's code does, behind its published numbers.
"""

import html
import re
import unicodedata

RELEASED_WORDS = 30

_REMOVED = ',.\'!?"()*#:;~'
_RELEASED = str.maketrans('-/', '  ', _REMOVED)
# Those of `released`, their typographic and full-width kin, and what joins or brackets.
PUNCTUATION = (
  f'{_REMOVED}-/_\\[]{{}}`\u00b4\u00ab\u00bb\u2039\u203a\u02bc'
  '\u2018\u2019\u201a\u201b\u201c\u201d\u201e\u201f\u2010\u2011\u2012\u2013\u2014'
  '\u2015\u2212\u2026\u00b7\u2022\u3001\u3002\uff0c\uff0e\uff1b\uff1a\uff1f\uff01'
  '\uff08\uff09'
)
_GLUE = re.compile(rf'\w+(?:(?!\'\w)[{re.escape(_REMOVED)}]+\w+)+')
_SOUND = str.maketrans(dict.fromkeys(PUNCTUATION, ' '))


def clean_caption(caption: str, *, cleaning: str = 'sound') -> str:
  """The words of a caption as a model reads them; '' where there is none.

  Args:
    caption: a text.
    cleaning: one of `CLEANINGS`.
  """
  return CLEANINGS[cleaning](caption)


def clean_released(caption: str, *, max_words: int = RELEASED_WORDS) -> str:
  """Lower case, no punctuation, at most `max_words` words: `pre_caption` of HarMA.

  Punctuation goes without a blank: of `trees,roads` it makes one word.
  """
  text = _all_words(caption)
  return ' '.join(text.split(' ')[:max_words])


def clean_sound(caption: str) -> str:
  """Lower case, blanks in place of punctuation, and every word."""
  text = html.unescape(html.unescape(caption))
  text = unicodedata.normalize('NFC', text).lower().translate(_SOUND)
  return ' '.join(text.split())


CLEANINGS = {'released': clean_released, 'sound': clean_sound}


def is_cut(caption: str, *, cleaning: str) -> bool:
  """Whether words of a caption are left out, however long a context is."""
  if cleaning != 'released' or len(caption) < 2 * RELEASED_WORDS:
    return False
  return _all_words(caption).count(' ') >= RELEASED_WORDS


def glued_words(caption: str, *, cleaning: str) -> str:
  """The first words that become one as only punctuation parts them; '' for none.

  An apostrophe parts no words: `it's` is one before.
  """
  found = _GLUE.search(caption) if cleaning == 'released' else None
  return found[0] if found else ''


def _all_words(caption: str) -> str:
  text = caption.lower().translate(_RELEASED).replace('<person>', 'person')
  # As in the original, a single tab or line break inside a caption stays.
  return re.sub(r'\s{2,}', ' ', text).rstrip('\n').strip(' ')
