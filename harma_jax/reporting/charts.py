"""Line charts, heat maps and scatter plots as SVG; their colours are in style.css."""

import html
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

WIDTH, HEIGHT = 360, 220
LEFT, RIGHT, TOP, BOTTOM = 56, 14, 14, 38  # around the plot
DOTS = 20  # a line of at most so many points shows them

Points = Sequence[tuple[float, float]]
Range = tuple[float, float]


class Frame(NamedTuple):
  """From values to places in the drawing.

  Attributes:
    x: the values at its left and right edge.
    y: the values at its lower and upper edge.
    width: of the drawing.
    height: of the drawing.
  """

  x: Range
  y: Range
  width: int = WIDTH
  height: int = HEIGHT

  def across(self, value: float) -> float:
    """Where a value of x lies."""
    share = (value - self.x[0]) / (self.x[1] - self.x[0])
    return LEFT + share * (self.width - LEFT - RIGHT)

  def down(self, value: float) -> float:
    """Where a value of y lies."""
    share = (value - self.y[0]) / (self.y[1] - self.y[0])
    return self.height - BOTTOM - share * (self.height - TOP - BOTTOM)

  def place(self, point: tuple[float, float]) -> str:
    """A point as `x,y`."""
    return f'{self.across(point[0]):.1f},{self.down(point[1]):.1f}'


def line_chart(
  series: Mapping[str, Points],
  *,
  title: str,
  x_label: str,
  mark: tuple[float, str] | None = None,
) -> str:
  """Lines over a common axis, and a legend where there are several.

  Args:
    series: name -> points, x rising; no point, or one that is not finite, is left out.
    title: what is drawn, in words, for those who do not see it.
    x_label: of the axis below.
    mark: a value of x to draw a line at, and what it says.

  Raises:
    ValueError: there is no finite point.
  """
  series = {name: _finite(points) for name, points in series.items()}
  points = [point for line in series.values() for point in line]
  if not points:
    raise ValueError(f'expected a finite point for {title!r}; found none')
  xs, ys = zip(*points, strict=True)
  frame = Frame(x=_widened(min(xs), max(xs)), y=_rounded(min(ys), max(ys)))
  lines = [_line(line, frame, number=k) for k, line in enumerate(series.values())]
  body = _axes(frame, x_label=x_label) + _mark(frame, mark) + ''.join(lines)
  chart = svg(body, width=WIDTH, height=HEIGHT, title=title)
  return chart + (_line_legend(list(series)) if len(series) > 1 else '')


def heat_map(
  values: np.ndarray,
  *,
  rows: Sequence[str],
  columns: Sequence[str],
  title: str,
  cell: tuple[float, float] = (18, 18),
  left: int = LEFT,
  below: int = BOTTOM,
  turned: bool = False,
  x_label: str = '',
  tips: bool = False,
) -> str:
  """A matrix as cells, the lowest value without colour, the highest in full colour.

  Args:
    values: f[n_rows, n_columns]; cells that are not finite stay empty.
    rows: a label for each, '' for none.
    columns: a label for each, '' for none.
    title: what is drawn, in words.
    cell: width and height.
    left: room for the labels of rows.
    below: room for those of columns.
    turned: whether these stand upright.
    x_label: of the axis below.
    tips: whether a cell says its labels and value when it is pointed at.
  """
  (n_rows, n_columns), (across, down) = values.shape, cell
  width, height = left + n_columns * across + RIGHT, TOP + n_rows * down + below
  cells = [
    _cell(
      (left + column * across, TOP + row * down, across, down),
      opacity=opacity,
      tip=f'{rows[row]}, {columns[column]}: {values[row, column]:.3f}' if tips else '',
    )
    for (row, column), opacity in np.ndenumerate(shades(values))
    if opacity > 0 or tips
  ]
  names = [
    _text(left - 5, TOP + (k + 0.5) * down + 4, name, anchor='end')
    for k, name in enumerate(rows)
  ]
  bottom = TOP + n_rows * down
  names += [
    _text(left + (k + 0.5) * across, bottom + (8 if turned else 16), name,
          anchor='end' if turned else 'middle', turned=turned)
    for k, name in enumerate(columns)
  ]  # fmt: skip
  names.append(_text(left + n_columns * across / 2, height - 4, x_label))
  edge = (
    f'<rect class="axis" x="{left}" y="{TOP}" width="{n_columns * across:g}" '
    f'height="{n_rows * down:g}"/>'
  )
  body = f'<g class="cells">{"".join(cells)}</g>{edge}{"".join(names)}'
  return svg(body, width=width, height=height, title=title)


def shades(values: np.ndarray) -> np.ndarray:
  """f64: 0 for the lowest finite value to 1 for the highest; 0 where not finite."""
  values = np.asarray(values, np.float64)
  finite = np.isfinite(values)
  if not finite.any():
    return np.zeros_like(values)
  low, high = values[finite].min(), values[finite].max()
  return np.where(finite, (values - low) / ((high - low) or 1.0), 0.0)


def scatter(groups: Mapping[str, np.ndarray], *, title: str, limit: float) -> str:
  """Up to two groups of points, circles and triangles, on square axes, and a legend.

  Args:
    groups: name -> f[n, 2].
    title: what is drawn, in words.
    limit: both axes go from `-limit` to `limit`; give plots to compare the same one.
  """
  side = WIDTH + TOP + BOTTOM - LEFT - RIGHT  # so that the plot itself is square
  frame = Frame(x=(-limit, limit), y=(-limit, limit), height=side)
  body = _axes(frame, x_label='first component')
  for k, (points, shape) in enumerate(zip(groups.values(), _SHAPES, strict=False)):
    path = ''.join(f'M{frame.place(point)}{shape}' for point in points.tolist())
    body += f'<path class="points s{k}" d="{path}"/>'
  swatches = [
    f'<path class="points s{k}" d="M15,6{shape}"/>' for k, shape in enumerate(_SHAPES)
  ]
  chart = svg(body, width=WIDTH, height=side, title=title)
  return chart + _legend(list(groups), swatches)


_SHAPES = ('m-2.5,0a2.5,2.5 0 1,0 5,0a2.5,2.5 0 1,0 -5,0', 'm-3,2.5h6l-3,-5.5z')


def svg(body: str, *, width: float, height: float, title: str) -> str:
  """A drawing that fills the width it is given and says in words what it shows."""
  words = html.escape(title)
  return (
    f'<svg role="img" aria-label="{words}" viewBox="0 0 {width:g} {height:g}">'
    f'<title>{words}</title>{body}</svg>'
  )


def ticks(low: float, high: float, *, most: int = 5) -> list[float]:
  """Round numbers from `low` to `high`, at most `most` + 1, for `low < high`."""
  step = _step(low, high, most=most)
  first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
  return [number * step for number in range(first, last + 1)]


def _step(low: float, high: float, *, most: int) -> float:
  """The smallest of 1, 2, 2.5 and 5 times a power of ten that gives so few ticks."""
  least = (high - low) / most
  power = 10.0 ** math.floor(math.log10(least))
  return next(k * power for k in (1, 2, 2.5, 5, 10) if k * power >= least * (1 - 1e-9))


def _widened(low: float, high: float) -> Range:
  """A range of some width, also for values that all are one."""
  if low < high:
    return low, high
  half = (abs(low) or 1) / 2
  return low - half, low + half


def _rounded(low: float, high: float) -> Range:
  """The range widened to whole ticks, those that the wider range itself has."""
  low, high = _widened(low, high)
  for _ in range(2):
    step = _step(low, high, most=5)
    low = math.floor(low / step + 1e-9) * step
    high = math.ceil(high / step - 1e-9) * step
  return low, high


def _finite(points: Points) -> list[tuple[float, float]]:
  return [point for point in points if all(map(math.isfinite, point))]


def _axes(frame: Frame, *, x_label: str) -> str:
  left, right = frame.across(frame.x[0]), frame.across(frame.x[1])
  bottom = frame.down(frame.y[0])
  parts = []
  for value in ticks(*frame.y):
    y = frame.down(value)
    parts.append(f'<path class="axis" d="M{left:.1f},{y:.1f}H{right:.1f}"/>')
    parts.append(_text(left - 6, y + 4, _number(value), anchor='end'))
  for value in ticks(*frame.x):
    x = frame.across(value)
    parts.append(f'<path class="axis" d="M{x:.1f},{bottom:.1f}v4"/>')
    parts.append(_text(x, bottom + 17, _number(value)))
  parts.append(_text((left + right) / 2, frame.height - 4, x_label))
  return ''.join(parts)


def _mark(frame: Frame, mark: tuple[float, str] | None) -> str:
  if mark is None or not frame.x[0] <= mark[0] <= frame.x[1]:
    return ''
  x, top, bottom = frame.across(mark[0]), frame.down(frame.y[1]), frame.down(frame.y[0])
  anchor = 'end' if x > WIDTH / 2 else 'start'
  text = _text(x, top - 3, mark[1], anchor=anchor)
  return f'<path class="mark" d="M{x:.1f},{top:.1f}V{bottom:.1f}"/>{text}'


def _line(points: Points, frame: Frame, *, number: int) -> str:
  places = ' '.join(frame.place(point) for point in points)
  line = f'<polyline class="line s{number % 6}" points="{places}"/>'
  if len(points) > DOTS:
    return line
  dots = ''.join(
    f'<circle cx="{frame.across(x):.1f}" cy="{frame.down(y):.1f}" r="2.5"/>'
    for x, y in points
  )
  return f'{line}<g fill="var(--s{number % 6})">{dots}</g>'


def _line_legend(names: Sequence[str]) -> str:
  swatches = [f'<path class="line s{k % 6}" d="M0,6H30"/>' for k in range(len(names))]
  return _legend(names, swatches)


def _legend(names: Sequence[str], swatches: Sequence[str]) -> str:
  items = ''.join(
    f'<li><svg aria-hidden="true" viewBox="0 0 30 12">{swatch}</svg> '
    f'{html.escape(name)}</li>'
    for name, swatch in zip(names, swatches, strict=False)
  )
  return f'<ul class="legend">{items}</ul>'


def _cell(box: tuple[float, ...], *, opacity: float, tip: str) -> str:
  x, y, width, height = box
  shape = (
    f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" '
    f'fill-opacity="{opacity:.2f}"'
  )
  return f'{shape}><title>{html.escape(tip)}</title></rect>' if tip else f'{shape}/>'


def _text(
  x: float, y: float, text: str, *, anchor: str = 'middle', turned: bool = False
) -> str:
  if not text:
    return ''
  turn = f' transform="rotate(-90 {x:.1f} {y:.1f})" dy="4"' if turned else ''
  return (
    f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{turn}>'
    f'{html.escape(text)}</text>'
  )


def _number(value: float) -> str:
  return f'{value:,.6g}'
