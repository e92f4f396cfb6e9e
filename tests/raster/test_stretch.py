"""Values of any kind to 8 bits."""

import numpy as np
import pytest

from harma_jax.raster.stretch import (
  Stretch,
  fixed_stretch,
  make_table,
  percentile_stretch,
  to_bytes,
)

U8, U16, F32 = map(np.dtype, ('u1', 'u2', 'f4'))


@pytest.mark.parametrize(
  ('how', 'dtype', 'bits', 'expected'),
  [
    ('auto', U8, 8, (0, 255)),
    ('auto', U8, 4, (0, 15)),
    ('auto', U16, 16, None),
    ('auto', F32, 32, None),
    ('none', U8, 8, (0, 255)),
    ('none', U16, 12, (0, 4095)),
    ('percent', U8, 8, None),
    ('0,3000', U8, 8, (0, 255)),
    ('0,3000', U16, 16, (0, 3000)),
    ('-25,-5', F32, 32, (-25, -5)),
  ],
)
def test_8_bits_stay_as_they_are_unless_percent_is_asked(how, dtype, bits, expected):
  found = fixed_stretch(how, dtype=dtype, bits=bits)
  assert (found and found[:2]) == expected


@pytest.mark.parametrize('dtype', ['i2', 'u4', 'f4', 'i1'])
def test_without_a_stretch_a_range_must_be_known(dtype):
  with pytest.raises(ValueError, match='whose range is unknown'):
    fixed_stretch('none', dtype=np.dtype(dtype), bits=16)


def test_percentiles_are_the_widest_of_the_bands():
  ramp = np.arange(1, 1002)
  found = percentile_stretch(np.stack([ramp + 1000, ramp + 500, ramp + 3000], -1))
  assert found == (521, 3981, 'percentiles 2 to 98')


def test_fill_and_what_is_no_number_are_left_out_of_percentiles():
  ramp = np.arange(1, 1002.0)[:, None]
  expected = percentile_stretch(ramp)
  fill = np.zeros((5000, 1))
  assert percentile_stretch(np.concatenate([ramp, fill])) == expected
  assert percentile_stretch(np.concatenate([ramp, fill + np.nan])) == expected
  signed = np.concatenate([ramp, fill]).astype(np.int16)
  assert percentile_stretch(signed).white < expected.white


@pytest.mark.parametrize('values', [np.zeros((0, 3)), np.full((9, 1), np.nan)])
def test_no_values_have_a_line(values):
  assert percentile_stretch(values)[:2] == (0, 1)


def test_a_single_value_becomes_black():
  found = percentile_stretch(np.full((9, 3), 700, np.uint16))
  assert (to_bytes(np.full((2, 2), 700, np.uint16), found) == 0).all()


@pytest.mark.parametrize('dtype', ['u1', 'i1', 'u2', 'i2'])
def test_a_table_gives_what_the_formula_gives(dtype):
  info = np.iinfo(dtype)
  values = np.arange(info.min, info.max + 1).astype(dtype)
  for line in ((info.min, info.max), (10, 77), (77, 10)):
    stretch = Stretch(*line, '')
    table = make_table(stretch, dtype=values.dtype)
    expected = [
      round(min(max((value - line[0]) * 255 / (line[1] - line[0]), 0), 255))
      for value in values.tolist()
    ]
    np.testing.assert_array_equal(to_bytes(values, stretch, table=table), expected)
    np.testing.assert_array_equal(to_bytes(values, stretch), expected)


def test_wide_values_have_no_table():
  assert make_table(Stretch(0, 1, ''), dtype=F32) is None


def test_what_is_no_number_becomes_black():
  values = np.array([np.nan, -np.inf, np.inf, 0.5], np.float32)
  assert to_bytes(values, Stretch(0, 1, '')).tolist() == [0, 0, 255, 128]
