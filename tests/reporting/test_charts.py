"""Charts at places that are computed by hand, and words for what they show."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from harma_jax.reporting.charts import (
  BOTTOM,
  HEIGHT,
  LEFT,
  RIGHT,
  TOP,
  WIDTH,
  heat_map,
  line_chart,
  scatter,
  shades,
  ticks,
)


def points_of(chart):
  """The places of each line."""
  return [
    [tuple(map(float, place.split(','))) for place in line.split()]
    for line in re.findall(r'<polyline[^>]* points="([^"]*)"', chart)
  ]


def test_a_line_goes_where_its_values_are():
  line = [(0.0, 0.0), (5.0, 50.0), (10.0, 100.0)]
  chart = line_chart({'a': line}, title='t', x_label='epoch')
  left, right = LEFT, WIDTH - RIGHT
  top, bottom = TOP, HEIGHT - BOTTOM
  middle = ((left + right) / 2, (top + bottom) / 2)
  assert points_of(chart) == [[(left, bottom), middle, (right, top)]]
  assert re.findall(r'text-anchor="end">(\d+)<', chart) == [
    *('0', '20', '40', '60', '80', '100')
  ]


def test_lines_share_their_axes_and_have_a_legend():
  series = {'low & slow': [(0, 0), (1, 1)], 'high': [(0, 10), (1, 10)]}
  chart = line_chart(series, title='t', x_label='epoch')
  low, high = points_of(chart)
  assert low[0][1] == HEIGHT - BOTTOM
  assert {y for _, y in high} == {TOP}
  assert 'low &amp; slow' in chart
  alone = line_chart({'a': [(0, 0), (1, 1)]}, title='t', x_label='')
  assert 'class="legend"' not in alone


def test_what_is_not_finite_is_left_out():
  nan, infinite = float('nan'), float('inf')
  chart = line_chart(
    {'a': [(0, nan), (1, 1), (2, infinite), (3, 2)]}, title='t', x_label=''
  )
  assert len(points_of(chart)[0]) == 2
  with pytest.raises(ValueError, match="finite point for 't'"):
    line_chart({'a': [(0, nan)]}, title='t', x_label='')


@pytest.mark.parametrize('value', [0.0, 3.0, -2e-7, 1e9])
def test_a_constant_lies_within_the_plot(value):
  [[(x, y)]] = points_of(line_chart({'a': [(value, value)]}, title='t', x_label=''))
  assert LEFT < x < WIDTH - RIGHT
  assert TOP <= y <= HEIGHT - BOTTOM


@pytest.mark.parametrize(
  ('low', 'high', 'expected'),
  [
    (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
    (0.3, 6, [2, 4, 6]),
    (-1, 1, [-1, -0.5, 0, 0.5, 1]),
    (1e-5, 4e-4, [1e-4, 2e-4, 3e-4, 4e-4]),
  ],
)
def test_ticks_are_round(low, high, expected):
  assert ticks(low, high) == pytest.approx(expected)


@pytest.mark.parametrize('seed', range(20))
def test_a_chart_begins_and_ends_at_ticks(seed):
  rng = np.random.default_rng(seed)
  low = rng.normal() * 10 ** rng.uniform(-4, 4)
  high = low + rng.random() * 10 ** rng.uniform(-3, 3)
  chart = line_chart({'a': [(0, low), (1, high)]}, title='t', x_label='')
  rules = [float(y) for y in re.findall(r'class="axis" d="M[\d.]+,([\d.]+)H', chart)]
  assert max(rules) == pytest.approx(HEIGHT - BOTTOM, abs=0.1)
  assert min(rules) == pytest.approx(TOP, abs=0.1)
  assert 2 <= len(rules) <= 7


def test_a_mark_stands_at_its_value():
  line = {'a': [(0, 0), (10, 1)]}
  chart = line_chart(line, title='t', x_label='', mark=(5, 'selected'))
  middle = (LEFT + WIDTH - RIGHT) / 2
  assert f'class="mark" d="M{middle:.1f},' in chart
  assert '>selected</text>' in chart
  assert 'selected' not in line_chart(
    line, title='t', x_label='', mark=(11, 'selected')
  )


def test_shades_go_from_the_lowest_to_the_highest():
  values = np.array([[1.0, 3.0], [2.0, np.nan]])
  np.testing.assert_array_equal(shades(values), [[0, 1], [0.5, 0]])
  np.testing.assert_array_equal(shades(np.full((2, 2), 7.0)), np.zeros((2, 2)))
  np.testing.assert_array_equal(shades(np.full((1, 2), np.nan)), [[0, 0]])


def test_a_heat_map_has_a_cell_for_each_value():
  values = np.array([[0.0, 0.25], [0.5, 1.0]])
  chart = heat_map(
    values, rows=['<r>', 's'], columns=['c', 'd'], title='t', cell=(10, 20), tips=True
  )
  cells = re.findall(r'<rect x="(\d+)" y="(\d+)" [^>]*fill-opacity="([\d.]+)"', chart)
  right, below = str(LEFT + 10), str(TOP + 20)
  assert cells == [
    (str(LEFT), str(TOP), '0.00'),
    (right, str(TOP), '0.25'),
    (str(LEFT), below, '0.50'),
    (right, below, '1.00'),
  ]
  assert '<title>&lt;r&gt;, d: 0.250</title>' in chart


def test_a_scatter_plot_places_points_and_tells_groups_by_shape():
  groups = {'images': np.array([[0.0, 0.0]]), 'captions': np.array([[2.0, -2.0]])}
  chart = scatter(groups, title='t', limit=2.0)
  first, second = re.findall(
    r'<path class="points s\d" d="M([\d.]+),([\d.]+)(m.)', chart
  )[:2]
  side = WIDTH - LEFT - RIGHT
  assert first == (f'{LEFT + side / 2:.1f}', f'{TOP + side / 2:.1f}', 'm-')
  assert second == (f'{LEFT + side:.1f}', f'{TOP + side:.1f}', 'm-')
  shapes = re.findall(r'class="points s\d" d="M[\d.]+,[\d.]+(m[^"]*)"', chart)
  assert shapes[0] != shapes[1]
  assert chart.index('> images<') < chart.index('> captions<')


class Words(HTMLParser):
  """What a drawing says of itself."""

  def __init__(self, text):
    super().__init__()
    self.found = []
    self.feed(text)

  def handle_starttag(self, tag, attributes):
    if tag == 'svg' and 'aria-hidden' not in dict(attributes):
      self.found.append(dict(attributes))


def test_drawings_say_what_they_show():
  chart = line_chart({'a': [(0, 0), (1, 1)]}, title='a "b" <c>', x_label='')
  [svg] = Words(chart).found
  assert (svg['role'], svg['aria-label']) == ('img', 'a "b" <c>')
