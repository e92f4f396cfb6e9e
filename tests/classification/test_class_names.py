"""Names of folders as words, those of published data sets as they are spelled."""

import logging

import pytest

from harma_jax.classification.class_names import (
  PUBLISHED,
  class_name,
  class_names,
  run_together,
  warn_of_run_together,
)

# The folders of each archive, as they lie there, where their spelling is special.
FOLDERS = {
  'UCM': {
    'baseballdiamond': 'baseball diamond',
    'denseresidential': 'dense residential',
    'golfcourse': 'golf course',
    'mediumresidential': 'medium residential',
    'mobilehomepark': 'mobile home park',
    'parkinglot': 'parking lot',
    'sparseresidential': 'sparse residential',
    'storagetanks': 'storage tanks',
    'tenniscourt': 'tennis court',
  },
  'AID': {'BareLand': 'bare land', 'StorageTanks': 'storage tanks', 'Port': 'port'},
  'NWPU-RESISC45': {'sea_ice': 'sea ice', 'storage_tank': 'storage tank'},
  'EuroSAT': {'AnnualCrop': 'annual crop', 'SeaLake': 'sea lake'},
  'RSSCN7': {
    'aGrass': 'grass',
    'bField': 'field',
    'cIndustry': 'industry',
    'dRiverLake': 'river lake',
    'eForest': 'forest',
    'fResident': 'resident',
    'gParking': 'parking',
  },
  'WHU-RS19': {
    'footballField': 'football field',
    'railwayStation': 'railway station',
  },
  'PatternNet': {
    'oil_gas_field': 'oil gas field',
    'christmas_tree_farm': 'christmas tree farm',
  },
  'OPTIMAL-31': {'ground_track_field': 'ground track field'},
}
COUNTS = {
  'UCM': 21,
  'AID': 30,
  'NWPU-RESISC45': 45,
  'EuroSAT': 10,
  'RSSCN7': 7,
  'WHU-RS19': 19,
  'PatternNet': 38,
  'OPTIMAL-31': 31,
}


@pytest.mark.parametrize(
  ('folder', 'name'),
  [
    ('BaseballField', 'baseball field'),
    ('golf_course', 'golf course'),
    ('mobile-home  park', 'mobile home park'),
    ('SAR_Image', 'sar image'),
    ('RGBImage', 'rgb image'),
    ('airport', 'airport'),
    ('Zone3Area', 'zone3 area'),
  ],
)
def test_names_of_folders_become_words(folder, name):
  assert class_name(folder) == name


@pytest.mark.parametrize('data_set', FOLDERS)
def test_folders_of_published_data_sets_become_words(data_set):
  own = FOLDERS[data_set]
  assert class_names(list(own)) == own
  assert {folder: class_name(folder) for folder in own} == own
  assert set(own.values()) <= set(PUBLISHED[data_set].split(', '))


def test_each_published_data_set_is_whole():
  classes = {name: line.split(', ') for name, line in PUBLISHED.items()}
  assert {name: len(set(own)) for name, own in classes.items()} == COUNTS


@pytest.mark.parametrize('data_set', PUBLISHED)
def test_each_spelling_of_a_published_class_gives_its_words(data_set):
  for name in PUBLISHED[data_set].split(', '):
    title = name.title()
    for spelling in (name, title):
      for sign in ('', ' ', '_', '-'):
        assert class_name(spelling.replace(' ', sign)) == name


@pytest.mark.parametrize(
  ('folders', 'names'),
  [
    (['01_airport', '2. BareLand'], ['airport', 'bare land']),
    (['aDune', 'bShrubLand'], ['dune', 'shrub land']),
    (['aDune', 'ShrubLand'], ['a dune', 'shrub land']),
    (['aDune', 'aLake'], ['a dune', 'a lake']),  # no numbers: they are the same
    (['10m', '20m'], ['10m', '20m']),  # without the numbers they would be the same
    (['2016', '2017'], ['2016', '2017']),
  ],
)
def test_numbers_before_all_names_are_left_out(folders, names):
  assert list(class_names(folders).values()) == names


@pytest.mark.parametrize(
  ('word', 'parts'),
  [
    ('cropfields', 'crop fields'),
    ('forestclearing', 'forest clearing'),
    ('oilterminal', 'oil terminal'),
    ('waterpowerstation', 'water power station'),
    ('sparsevegetation', 'sparse vegetation'),
    ('airport', ''),
    ('farmland', ''),
    ('chaparral', ''),
    ('snowberg', ''),
    ('photovoltaic', ''),
    ('zone3', ''),
    ('for\u00eat', ''),
  ],
)
def test_words_that_are_run_together_are_told(word, parts):
  assert run_together(word) == parts


@pytest.mark.timeout(20)
def test_long_names_are_parted_soon():
  word = 'largehousesandsmallgardenswithtreesbesideariverx'
  assert run_together(word * 2) == ''
  assert run_together('housegarden' * 20) == 'house garden ' * 19 + 'house garden'


def test_run_together_words_are_warned_of_with_a_remedy(caplog):
  folders = ['storagetanks', 'cropfields', 'port', 'old_sportsfields']
  with caplog.at_level(logging.WARNING, logger='absl'):
    warn_of_run_together(class_names(folders))
  [message] = caplog.messages
  assert '2 of 4 folders' in message
  assert 'cropfields (crop fields?), old_sportsfields (old sports fields?)' in message
  assert '--classes=FILE' in message


def test_published_names_are_not_warned_of(caplog):
  for line in PUBLISHED.values():
    folders = [name.replace(' ', '') for name in line.split(', ')]
    warn_of_run_together(class_names(folders))
  assert not caplog.messages
