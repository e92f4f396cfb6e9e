"""Days in names, as products write them."""

import pytest

from harma_jax.search_page.dates import date_of


@pytest.mark.parametrize(
  ('name', 'day'),
  [
    ('T32TMT_20240115T103321_TCI_10m.jp2', '2024-01-15'),
    ('S2A_MSIL2A_20230704T101601_N0509_R065_T32TQM_20230704T161603.tif', '2023-07-04'),
    ('LC08_L2SP_193028_20210708_20210713_02_T1/SR.tif', '2021-07-08'),
    ('20190331_101525_ssc1_u0001.tif', '2019-03-31'),
    ('aerial/2016-05-09/north.tif', '2016-05-09'),
    ('aerial_2016_05_09.tif', '2016-05-09'),
    ('tile_20241399.tif', ''),
    ('scene_1202401150.tif', ''),
    ('harbour.tif', ''),
  ],
)
def test_the_first_day_of_a_name(name, day):
  assert date_of(name) == day
