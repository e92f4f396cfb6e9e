"""Names of folders as words: of published data sets by a table, of others by signs."""

import functools
import re
from collections.abc import Container, Mapping, Sequence

from absl import logging

from harma_jax.data.tokenizer import word_token

# The classes as the folders of the published archives spell them, in words. Nothing is
# renamed: only blanks are put in, as many copies run the words together.
PUBLISHED = {
  # Yang and Newsam, ACM GIS 2010: lower case, run together (`storagetanks`).
  'UCM': (
    'agricultural, airplane, baseball diamond, beach, buildings, chaparral, dense '
    'residential, forest, freeway, golf course, harbor, intersection, medium '
    'residential, mobile home park, overpass, parking lot, river, runway, sparse '
    'residential, storage tanks, tennis court'
  ),
  # Xia et al., TGRS 2017: capitals (`StorageTanks`).
  'AID': (
    'airport, bare land, baseball field, beach, bridge, center, church, commercial, '
    'dense residential, desert, farmland, forest, industrial, meadow, medium '
    'residential, mountain, park, parking, playground, pond, port, railway station, '
    'resort, river, school, sparse residential, square, stadium, storage tanks, viaduct'
  ),
  # Cheng et al., Proceedings of the IEEE 2017: underscores (`storage_tank`).
  'NWPU-RESISC45': (
    'airplane, airport, baseball diamond, basketball court, beach, bridge, chaparral, '
    'church, circular farmland, cloud, commercial area, dense residential, desert, '
    'forest, freeway, golf course, ground track field, harbor, industrial area, '
    'intersection, island, lake, meadow, medium residential, mobile home park, '
    'mountain, overpass, palace, parking lot, railway, railway station, rectangular '
    'farmland, river, roundabout, runway, sea ice, ship, snowberg, sparse residential, '
    'stadium, storage tank, tennis court, terrace, thermal power station, wetland'
  ),
  # Helber et al., JSTARS 2019: capitals (`AnnualCrop`).
  'EuroSAT': (
    'annual crop, forest, herbaceous vegetation, highway, industrial, pasture, '
    'permanent crop, residential, river, sea lake'
  ),
  # Zou et al., GRSL 2015: capitals after a letter in place of a number (`aGrass`).
  'RSSCN7': 'grass, field, industry, river lake, forest, resident, parking',
  # Xia et al., ISPRS TC VII 2010: some capitals (`footballField`).
  'WHU-RS19': (
    'airport, beach, bridge, commercial, desert, farmland, football field, forest, '
    'industrial, meadow, mountain, park, parking, pond, port, railway station, '
    'residential, river, viaduct'
  ),
  # Zhou et al., ISPRS Journal 2018: underscores (`oil_gas_field`).
  'PatternNet': (
    'airplane, baseball field, basketball court, beach, bridge, cemetery, chaparral, '
    'christmas tree farm, closed road, coastal mansion, crosswalk, dense residential, '
    'ferry terminal, football field, forest, freeway, golf course, harbor, '
    'intersection, mobile home park, nursing home, oil gas field, oil well, overpass, '
    'parking lot, parking space, railway, river, runway, runway marking, shipping '
    'yard, solar panel, sparse residential, storage tank, swimming pool, tennis court, '
    'transformer station, wastewater treatment plant'
  ),
  # Wang et al., TGRS 2019: underscores (`ground_track_field`).
  'OPTIMAL-31': (
    'airplane, airport, baseball diamond, basketball court, beach, bridge, chaparral, '
    'church, circular farmland, commercial area, dense residential, desert, forest, '
    'freeway, golf course, ground track field, harbor, industrial area, intersection, '
    'island, lake, meadow, medium residential, mobile home park, mountain, overpass, '
    'parking lot, railway, rectangular farmland, roundabout, runway'
  ),
}

# `01_airport`, `1. airport`; `aGrass`.
NUMBERINGS = (r'\d+[\s._\-]*(?=[^\W\d_])', r'[a-z](?=[A-Z])')

# Tokens of CLIP are numbered by how common they are; rarer ones are mostly parts of
# words and names.
COMMON = 24_000
SHORT = ('air', 'bay', 'bus', 'car', 'dam', 'ice', 'lot', 'oil', 'gas', 'sea', 'zoo')
LEAST = 4  # letters of other words


def class_names(folders: Sequence[str]) -> dict[str, str]:
  """The words of each folder's name, by the folder.

  Numbers before the names of all of them are left out.
  """
  rests = _without_numbers(folders)
  return {folder: class_name(rest) for folder, rest in rests.items()}


def class_name(folder: str) -> str:
  """The words of a folder's name: those of `PUBLISHED`, or as its signs part them.

  `BaseballField` and `baseball_field` have two, and so has `baseballfield`.
  """
  known = _published().get(_letters(folder))
  if known:
    return known
  words = re.sub(r'(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])', ' ', folder)
  return ' '.join(re.sub(r'[_\-\s]+', ' ', words).lower().split())


def run_together(word: str) -> str:
  """The common words that make up one that is none itself, with blanks; '' for none."""
  known = _known_words()
  if word in known or not word.isalpha() or word_token(word) is not None:
    return ''
  parts = _parts(word, known)
  return ' '.join(parts) if parts else ''


def warn_of_run_together(names: Mapping[str, str]) -> None:
  """Warns of names, by folder, with words that seem to be run together."""
  suspects = {}
  for folder, name in names.items():
    parted = [run_together(word) or word for word in name.split()]
    if parted != name.split():
      suspects[folder] = ' '.join(parted)
  if suspects:
    logging.warning(
      'Expected names of classes as words; %d of %d folders seem to run them together, '
      'as few captions do: %s. Give --classes=FILE with lines of '
      'folder<TAB>name.',
      *(len(suspects), len(names)),
      ', '.join(f'{folder} ({words}?)' for folder, words in suspects.items()),
    )


def _without_numbers(folders: Sequence[str]) -> dict[str, str]:
  for numbering in NUMBERINGS:
    found = [re.match(numbering, folder) for folder in folders]
    if not all(found) or len({match[0] for match in found}) < len(folders):
      continue
    rests = [match.string[match.end() :] for match in found]
    if len(set(rests)) == len(rests):  # `10m`, `20m` are told apart by numbers alone
      return dict(zip(folders, rests, strict=True))
  return {folder: folder for folder in folders}


def _parts(word: str, known: Container[str]) -> list[str] | None:
  """The fewest words that make up `word`; None where there are none."""
  best = {0: []}  # of the letters up to each end
  for end in range(1, len(word) + 1):
    ways = [
      [*best[start], word[start:end]]
      for start in range(end)
      if start in best and _is_part(word[start:end], known)
    ]
    if ways:
      best[end] = min(ways, key=len)
  return best.get(len(word))


def _is_part(word: str, known: Container[str]) -> bool:
  if len(word) < LEAST:
    return word in SHORT
  if word in known:
    return True
  token = word_token(word)
  return token is not None and token < COMMON


def _letters(folder: str) -> str:
  return re.sub(r'[\s_\-]+', '', folder).lower()


@functools.cache
def _published() -> dict[str, str]:
  """The words of each published name, by its letters; of RSSCN7 also numbered."""
  names = {
    _letters(name): name for line in PUBLISHED.values() for name in line.split(', ')
  }
  numbered = zip('abcdefg', PUBLISHED['RSSCN7'].split(', '), strict=True)
  return names | {letter + _letters(name): name for letter, name in numbered}


@functools.cache
def _known_words() -> frozenset[str]:
  return frozenset(' '.join(_published().values()).split())
