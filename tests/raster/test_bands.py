"""Which bands are red, green and blue, in the spellings of products."""

import pytest

from harma_jax.errors import UserError
from harma_jax.raster.bands import choose_bands, nanometres

UNKNOWN = ('gray', *['undefined'] * 12)

SPELLINGS = {
  'Sentinel-2, short': (['B2', 'B3', 'B4', 'B8'], (3, 2, 1)),
  'Sentinel-2, padded': (
    [
      'B01',
      'B02',
      'B03',
      'B04',
      'B05',
      'B06',
      'B07',
      'B08',
      'B8A',
      'B09',
      'B11',
      'B12',
    ],
    (4, 3, 2),
  ),
  'Sentinel-2, backwards': (['B8A', 'B08', 'B04', 'B03', 'B02'], (3, 4, 5)),
  'Sentinel-2, GDAL': (
    [
      'B4, central wavelength 665 nm',
      'B3, central wavelength 560 nm',
      'B2, central wavelength 490 nm',
      'B8, central wavelength 842 nm',
    ],
    (1, 2, 3),
  ),
  'Landsat 8': ([f'SR_B{i}' for i in range(1, 8)], (4, 3, 2)),
  'Landsat 5': (['SR_B1', 'SR_B2', 'SR_B3', 'SR_B4', 'SR_B5', 'SR_B7'], (3, 2, 1)),
  'Landsat, three': (['SR_B3', 'SR_B2', 'SR_B1'], (1, 2, 3)),
  'MODIS': ([f'sur_refl_b0{i}' for i in range(1, 8)], (1, 4, 3)),
  'PlanetScope': (['blue', 'green', 'red', 'nir'], (3, 2, 1)),
  'SuperDove': (
    ['coastal_blue', 'blue', 'green_i', 'green', 'yellow', 'red', 'rededge', 'nir'],
    (6, 4, 2),
  ),
  'SuperDove, capitals': (
    ['Coastal Blue', 'Blue', 'Green I', 'Green', 'Yellow', 'Red', 'Red Edge', 'NIR'],
    (6, 4, 2),
  ),
  'words in words': (
    ['Band 1 (Blue)', 'Band 2 (Green)', 'Band 3 (Red)', 'Band 4 (NearInfrared)'],
    (3, 2, 1),
  ),
  'wavelengths': (['490 nm', '560 nm', '665 nm', '705 nm', '842 nm'], (3, 2, 1)),
  'micrometres': (['0.49 um', '0.56 µm', '0.665 micrometers'], (3, 2, 1)),
  'bare wavelengths': (['443', '492.4', '559.8', '664.6', '704.1'], (4, 3, 2)),
  'many': ([f'Band {i} ({400 + 10 * i} nm)' for i in range(1, 40)], (26, 16, 8)),
}


@pytest.mark.parametrize('name', SPELLINGS)
def test_descriptions_are_understood(name):
  descriptions, expected = SPELLINGS[name]
  colors = ('gray', *['undefined'] * (len(descriptions) - 1))
  choice = choose_bands('', colors=colors, descriptions=descriptions)
  assert choice.numbers == expected
  assert not choice.is_guess


@pytest.mark.parametrize(
  'descriptions',
  [
    [None] * 5,
    ['Band 1', 'Band 2', 'Band 3', 'Band 4'],
    ['band_1', 'band_2', 'band_3', 'band_4', 'band_5'],
    ['VV', 'VH', 'ratio'],
    ['red', 'rededge', 'nir'],
    ['450 m', 'slope', 'aspect'],
    ['2021', '2022', '2023'],
  ],
)
def test_what_says_nothing_is_a_guess(descriptions):
  choice = choose_bands(
    '', colors=UNKNOWN[: len(descriptions)], descriptions=descriptions
  )
  assert (choice.numbers, choice.is_guess) == ((1, 2, 3), True)


def test_colours_come_after_descriptions_and_before_the_order():
  bgr = ('blue', 'green', 'red', 'undefined')
  assert choose_bands('', colors=bgr, descriptions=[None] * 4).numbers == (3, 2, 1)
  # GDAL calls three bands of 8 bits so, whatever they hold.
  rgb = ('red', 'green', 'blue')
  names = ['B2', 'B3', 'B4']
  assert choose_bands('', colors=rgb, descriptions=names).numbers == (3, 2, 1)


def test_wavelengths_of_metadata_count():
  lengths = [490.0, 560.0, 665.0, None]
  choice = choose_bands(
    '', colors=UNKNOWN[:4], descriptions=[None] * 4, wavelengths=lengths
  )
  assert choice.numbers == (3, 2, 1)


@pytest.mark.parametrize(
  ('colors', 'number'),
  [
    (('gray',), 1),
    (('gray', 'alpha'), 1),
    (('alpha', 'gray'), 2),
    (('undefined', 'undefined'), 1),
  ],
)
def test_one_or_two_bands_are_grey(colors, number):
  choice = choose_bands('', colors=colors, descriptions=[None] * len(colors))
  assert choice.numbers == (number,)
  assert not choice.is_guess


@pytest.mark.parametrize(
  ('wanted', 'expected'),
  [
    ('4,3,2', (4, 3, 2)),
    ('B4, B3, B2', (3, 2, 1)),
    ('b04,b03,b02', (3, 2, 1)),
    ('B8A,B8,B4', (5, 4, 3)),
    ('5', (5,)),
  ],
)
def test_the_user_says_numbers_or_names(wanted, expected):
  names = ['B02', 'B03', 'B04', 'B08', 'B8A']
  assert (
    choose_bands(wanted, colors=UNKNOWN[:5], descriptions=names).numbers == expected
  )


def test_the_user_says_colours():
  bgr = ('blue', 'green', 'red', 'undefined')
  choice = choose_bands('red,green,blue', colors=bgr, descriptions=[None] * 4)
  assert choice.numbers == (3, 2, 1)


@pytest.mark.parametrize('wanted', ['6,3,2', 'B9,B3,B2', '0'])
def test_a_band_that_is_not_there_is_named(wanted):
  with pytest.raises(UserError, match='one of the 2 bands, called B02, B8A; found'):
    choose_bands(wanted, colors=UNKNOWN[:2], descriptions=['B02', 'B8A'])


def test_wavelengths_have_units():
  assert nanometres(665) == 665
  assert nanometres(0.665) == pytest.approx(665)
  assert nanometres(0.665, 'um') == pytest.approx(665)
  assert nanometres(665, 'nm') == 665
  assert nanometres(12, 'nm') is None
