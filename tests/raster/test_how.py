"""What a user may say of bands and values."""

import pytest

from harma_jax.errors import UserError
from harma_jax.raster.how import DEFAULT, How, check_how, how_of, range_of


@pytest.mark.parametrize('stretch', ['auto', 'none', 'percent', '0,3000', '-25, -5.5'])
@pytest.mark.parametrize('bands', ['', '4,3,2', 'B4, B3, B2', '8'])
def test_what_can_be_meant_is_taken(bands, stretch):
  check_how(How(bands=bands, stretch=stretch))


@pytest.mark.parametrize('bands', ['4,3', '4,3,2,1', '4,,2', ','])
def test_other_bands_are_refused(bands):
  with pytest.raises(UserError, match=r'^--bands: expected red, green and blue'):
    how_of(bands=bands, stretch=None)


@pytest.mark.parametrize('stretch', ['', 'best', '1', '3,1', '1,1', 'nan,1', '1,2,3'])
def test_other_stretches_are_refused(stretch):
  with pytest.raises(UserError, match=r'^--stretch: expected auto, none, percent or'):
    how_of(bands=None, stretch=stretch)


def test_a_share_is_one():
  with pytest.raises(UserError, match='min_valid: expected a share'):
    how_of(bands=None, stretch=None, min_valid=1.5)


def test_what_is_not_said_is_taken_from_others():
  others = How(bands='4,3,2', stretch='0,3000')
  assert how_of(bands=None, stretch=None, others=others) == others
  assert how_of(bands='1', stretch=None, min_valid=None) == DEFAULT._replace(bands='1')
  assert range_of(' 0 , 3000') == (0, 3000)
