"""Draws aerial scenes with Pillow: what a `Scene` says, in one of two styles."""

import dataclasses
import itertools
import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

OFFSETS = {
  'centre': (0, 0),
  'left': (-1, 0),
  'right': (1, 0),
  'top': (0, -1),
  'bottom': (0, 1),
  'top left': (-1, -1),
  'top right': (1, -1),
  'bottom left': (-1, 1),
  'bottom right': (1, 1),
}
# Of made things and crops: alike in every style, so that a caption's colour is true.
COLOURS = {
  'red': (204, 40, 36),
  'blue': (36, 84, 204),
  'white': (248, 248, 246),
  'yellow': (244, 208, 40),
  'orange': (240, 122, 24),
  'black': (24, 24, 28),
  'grey': (126, 126, 130),
  'green': (44, 160, 72),
  'brown': (126, 84, 48),
  'purple': (140, 92, 168),
}
# Of all else: captions never name these.
PALETTES = {
  'summer': {
    'ground': (122, 146, 82),
    'ground spots': (148, 158, 96),
    'water': (52, 104, 136),
    'water light': (76, 128, 154),
    'tree': (42, 92, 44),
    'tree shadow': (22, 52, 28),
    'shadow': (58, 66, 46),
    'road': (112, 112, 114),
    'paving': (164, 160, 152),
    'line': (236, 236, 232),
  },
  'winter': {
    'ground': (228, 232, 238),
    'ground spots': (172, 154, 130),
    'water': (138, 158, 172),
    'water light': (176, 194, 206),
    'tree': (112, 90, 74),
    'tree shadow': (74, 62, 58),
    'shadow': (128, 136, 158),
    'road': (134, 128, 126),
    'paving': (172, 168, 168),
    'line': (240, 240, 240),
  },
}
STYLES = tuple(PALETTES)
# Per style: the sun's shadow (shares of the side), snow on crops, then what the sensor
# does: gain of red, green and blue, share and grey level of haze, noise (u8 units).
_SHADOWS = {'summer': (0.012, 0.016), 'winter': (-0.026, 0.014)}
_SNOW = {'summer': 0.0, 'winter': 0.3}
_SENSORS = {
  'summer': ((1.0, 1.0, 1.0), 0.0, 0.0, 4.0),
  'winter': ((0.90, 0.95, 1.04), 0.14, 206.0, 8.0),
}

_BOX = 0.54  # side of the square that a cluster of things fills, in sides of the image

Colour = tuple[int, int, int]
Span = tuple[float, float]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scene:
  """What is where. Places and edges are those of `OFFSETS`.

  Attributes:
    kind: what the scene is of, a key of `DRAWINGS`.
    count: how many things the kind has: fields, boats, cars, rows, tanks, aircraft,
      ships, pitches, huts.
    colour: of the things, a key of `COLOURS`.
    place: where they are.
    direction: `horizontal` or `vertical`: of rows, furrows, the river, the road, ...
    neighbour: `river`, `road`, `woods`; `bridge` (over the kind's own river) or
      `crossroad`; None.
    edge: the edge of the image that the neighbour lies along; None without one.
  """

  kind: str
  count: int
  colour: str
  place: str
  direction: str
  neighbour: str | None
  edge: str | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Canvas:
  """A picture in unit coordinates (x to the right, y downwards) and its style."""

  pen: ImageDraw.ImageDraw
  size: int
  shift: Span
  style: str
  rng: np.random.Generator

  def colour(self, name: str) -> Colour:
    return PALETTES[self.style][name]

  def polygon(self, points: Sequence[Span], fill: Colour) -> None:
    self.pen.polygon([self._pixel(point) for point in points], fill=fill)

  def disc(self, centre: Span, radius: float, fill: Colour) -> None:
    (x, y), r = self._pixel(centre), radius * self.size
    self.pen.ellipse((x - r, y - r, x + r, y + r), fill=fill)

  def shadow(self, points: Sequence[Span]) -> list[Span]:
    dx, dy = _SHADOWS[self.style]
    return [(x + dx, y + dy) for x, y in points]

  def _pixel(self, point: Span) -> Span:
    return tuple(
      (value + move) * self.size for value, move in zip(point, self.shift, strict=True)
    )


def render(
  scene: Scene, rng: np.random.Generator, *, side: int, style: str
) -> np.ndarray:
  """Draws a scene at twice the size and averages, for smooth edges.

  Args:
    scene: what to draw.
    rng: for texture, trees, small shifts and the sensor's noise.
    side: pixels of the image's side.
    style: one of `STYLES`.

  Returns:
    u8[side, side, 3], red, green, blue.
  """
  size = 2 * side
  picture = Image.fromarray(_ground(rng, size=size, style=style))
  shift = tuple(rng.uniform(-0.025, 0.025, 2).tolist())
  pen = ImageDraw.Draw(picture)
  canvas = _Canvas(pen=pen, size=size, shift=shift, style=style, rng=rng)
  # A bridge or a second road lies over the kind's own river or road.
  over = scene.neighbour in ('bridge', 'crossroad')
  for draw in (DRAWINGS[scene.kind], _neighbour)[:: 1 if over else -1]:
    draw(canvas, scene)
  return _sense(np.asarray(picture.reduce(2), np.float32), rng, style=style)


def _ground(rng: np.random.Generator, *, size: int, style: str) -> np.ndarray:
  coarse = Image.fromarray(rng.uniform(-0.3, 1, (6, 6)).astype(np.float32))
  share = np.asarray(coarse.resize((size, size), Image.Resampling.BILINEAR))
  first, second = (
    np.float32(PALETTES[style][name])[None, None] for name in ('ground', 'ground spots')
  )
  share = share.clip(0, 1)[..., None]
  return (first * (1 - share) + second * share).astype(np.uint8)


def _sense(image: np.ndarray, rng: np.random.Generator, *, style: str) -> np.ndarray:
  gain, haze, grey, noise = _SENSORS[style]
  image = image * np.float32(gain)[None, None] * (1 - haze) + haze * grey
  image = image + noise * rng.standard_normal(image.shape, np.float32)
  return image.clip(0, 255).round().astype(np.uint8)


def _mix(first: Colour, second: Colour, share: float) -> Colour:
  return tuple(round(a + share * (b - a)) for a, b in zip(first, second, strict=True))


def _point(edge: str, depth: float, t: float) -> Span:
  """The point `depth` away from an edge of the image, `t` along it."""
  far = OFFSETS[edge][0] + OFFSETS[edge][1] > 0
  depth = 1 - depth if far else depth
  return (depth, t) if edge in ('left', 'right') else (t, depth)


def _block(edge: str, depth: Span, t: Span) -> list[Span]:
  """The corners of a rectangle, from its spans of depth and along the edge."""
  corners = ((0, 0), (1, 0), (1, 1), (0, 1))
  return [_point(edge, depth[i], t[j]) for i, j in corners]


def _around(centre: float, width: float) -> Span:
  return centre - width / 2, centre + width / 2


def _frame(scene: Scene) -> str:
  """The edge from which a scene's rows, river, road or runway are measured."""
  if scene.place in ('left', 'right', 'top', 'bottom'):
    return scene.place
  return {'vertical': 'left', 'horizontal': 'top'}[scene.direction]


def _spread(scene: Scene, *, low: float = 0.06, high: float = 0.94) -> list[Span]:
  """Spans of equal length, one a thing, along the whole image; clear of a crossing."""
  if scene.neighbour in ('bridge', 'crossroad'):
    near = scene.edge in ('left', 'top')
    low, high = (0.36, high) if near else (low, 0.64)
  edges = np.linspace(low, high, scene.count + 1).tolist()
  return list(itertools.pairwise(edges))


def _cells(scene: Scene, *, box: float = _BOX) -> list[tuple[Span, Span]]:
  """Spans in x and y of a grid inside the square at the scene's place, one a thing."""
  long = math.ceil(math.sqrt(scene.count))
  short = math.ceil(scene.count / long)
  columns, rows = (long, short) if scene.direction == 'horizontal' else (short, long)
  left, top = (0.5 + 0.19 * offset - box / 2 for offset in OFFSETS[scene.place])
  wide, high = box / columns, box / rows
  return [
    ((left + i * wide, left + i * wide + wide), (top + j * high, top + j * high + high))
    for j in range(rows)
    for i in range(columns)
  ][: scene.count]


def _middle(cell: tuple[Span, Span]) -> Span:
  return tuple(sum(span) / 2 for span in cell)


def _inset(cell: tuple[Span, Span], gap: float) -> list[Span]:
  (left, right), (top, bottom) = cell
  return _block('left', (left + gap, right - gap), (top + gap, bottom - gap))


def _wave(t: np.ndarray, phase: float) -> np.ndarray:
  return 0.035 * np.sin(2 * np.pi * (t + phase))


def _river(canvas: _Canvas, edge: str, *, depth: float, width: float) -> float:
  """A winding river along an edge; returns the phase of its `_wave`."""
  phase = canvas.rng.uniform()
  t = np.linspace(-0.05, 1.05, 17)
  for share, name in ((1.0, 'water'), (0.5, 'water light')):
    banks = [depth + _wave(t, phase) + side * share * width / 2 for side in (-1, 1)]
    line = [_point(edge, *pair) for pair in zip(banks[0], t, strict=True)]
    back = [_point(edge, *pair) for pair in zip(banks[1], t, strict=True)]
    canvas.polygon([*line, *back[::-1]], canvas.colour(name))
  return phase


def _road(canvas: _Canvas, edge: str, *, depth: float, width: float) -> None:
  """A straight road along an edge with a broken middle line."""
  canvas.polygon(_block(edge, _around(depth, width), (-1, 2)), canvas.colour('road'))
  for t in np.arange(0.02, 1, 0.12):
    dash = _block(edge, _around(depth, 0.018), (t, t + 0.06))
    canvas.polygon(dash, canvas.colour('line'))


def _trees(canvas: _Canvas, places: np.ndarray) -> None:
  """Trees with their shadows at f[N, 2] places."""
  radii = canvas.rng.uniform(0.026, 0.042, len(places)).tolist()
  lights = canvas.rng.uniform(-0.1, 0.35, len(places)).tolist()
  tree, dark = canvas.colour('tree'), canvas.colour('tree shadow')
  for place, radius, light in zip(places.tolist(), radii, lights, strict=True):
    canvas.disc(canvas.shadow([place])[0], radius, dark)
    canvas.disc(place, radius, _mix(tree, (210, 214, 150), max(light, 0)))


def _neighbour_depth(scene: Scene) -> float:
  """How far from its edge a neighbour lies; further in where the things are far."""
  place, edge = OFFSETS[scene.place], OFFSETS[scene.edge or 'centre']
  return 0.18 if np.dot(place, edge) < 0 else 0.1


def _neighbour(canvas: _Canvas, scene: Scene) -> None:
  """What lies along an edge, or crosses the scene's river or road near it."""
  depth = _neighbour_depth(scene)
  if scene.neighbour == 'river':
    _river(canvas, scene.edge, depth=depth, width=0.15)
  elif scene.neighbour == 'road':
    _road(canvas, scene.edge, depth=depth, width=0.12)
  elif scene.neighbour == 'woods':
    low, high = (-0.04, -0.06), (depth + 0.06, 1.06)
    spots = canvas.rng.uniform(low, high, size=(round(320 * (depth + 0.1)), 2))
    _trees(canvas, np.array([_point(scene.edge, *spot) for spot in spots]))
  elif scene.neighbour == 'bridge':
    for width, name in ((0.17, 'paving'), (0.12, 'road')):
      bridge = _block(scene.edge, _around(0.22, width), (-1, 2))
      canvas.polygon(bridge, canvas.colour(name))
  elif scene.neighbour == 'crossroad':
    _road(canvas, scene.edge, depth=0.22, width=0.18)


def _fields(canvas: _Canvas, scene: Scene) -> None:
  colour = _mix(COLOURS[scene.colour], (236, 240, 244), _SNOW[canvas.style])
  for cell in _cells(scene, box=0.57):
    shade = _mix(colour, (0, 0, 0), canvas.rng.uniform(0, 0.1))
    canvas.polygon(_inset(cell, 0.018), shade)
    furrow = _mix(shade, (0, 0, 0), 0.22)
    across, along = cell if scene.direction == 'vertical' else cell[::-1]
    edge = {'vertical': 'left', 'horizontal': 'top'}[scene.direction]
    for depth in np.arange(across[0] + 0.05, across[1] - 0.03, 0.05):
      line = _block(edge, _around(depth, 0.012), (along[0] + 0.03, along[1] - 0.03))
      canvas.polygon(line, furrow)


def _rivers(canvas: _Canvas, scene: Scene) -> None:
  edge = _frame(scene)
  depth = 0.5 if scene.place == 'centre' else 0.28
  phase = _river(canvas, edge, depth=depth, width=0.27)
  for low, high in _spread(scene):
    t, half = (low + high) / 2, min(0.085, 0.42 * (high - low))
    across = depth + _wave(t, phase) + canvas.rng.uniform(-0.03, 0.03)
    hull = ((0, 1), (0.035, 0.3), (0.035, -1), (-0.035, -1), (-0.035, 0.3))
    points = [_point(edge, across + x, t + half * y) for x, y in hull]
    canvas.polygon(points, COLOURS[scene.colour])


def _roads(canvas: _Canvas, scene: Scene) -> None:
  edge = _frame(scene)
  depth = 0.5 if scene.place == 'centre' else 0.28
  _road(canvas, edge, depth=depth, width=0.22)
  for i, (low, high) in enumerate(_spread(scene)):
    across = depth + (0.055 if i % 2 else -0.055)
    t, length = (low + high) / 2, min(0.13, 0.75 * (high - low))
    car = _block(edge, _around(across, 0.066), _around(t, length))
    canvas.polygon(canvas.shadow(car), canvas.colour('shadow'))
    canvas.polygon(car, COLOURS[scene.colour])


def _houses(canvas: _Canvas, roofs: Sequence[Sequence[Span]], colour: Colour) -> None:
  """Roofs, each given by four corners, with shadows and a darker half."""
  for roof in roofs:
    canvas.polygon(canvas.shadow(roof), canvas.colour('shadow'))
    canvas.polygon(roof, colour)
    a, b, c, d = np.array(roof)
    half = [tuple(point) for point in (a, b, (b + c) / 2, (a + d) / 2)]
    canvas.polygon(half, _mix(colour, (0, 0, 0), 0.16))


def _rows(canvas: _Canvas, scene: Scene) -> None:
  edge = {'vertical': 'left', 'horizontal': 'top'}[scene.direction]
  left, top = (0.5 + 0.19 * offset for offset in OFFSETS[scene.place])
  across, along = (left, top) if scene.direction == 'vertical' else (top, left)
  houses = int(canvas.rng.integers(3, 6))
  pitch = 0.58 / houses
  for row in range(scene.count):
    depth = across + 0.15 * (row - (scene.count - 1) / 2)
    street = _block(edge, _around(depth + 0.065, 0.03), _around(along, 0.58))
    canvas.polygon(street, canvas.colour('road'))
    middles = [along + pitch * (i - (houses - 1) / 2) for i in range(houses)]
    roofs = [
      _block(edge, _around(depth, 0.08), _around(t, 0.72 * pitch)) for t in middles
    ]
    _houses(canvas, roofs, COLOURS[scene.colour])


def _tanks(canvas: _Canvas, scene: Scene) -> None:
  left, top = (0.5 + 0.19 * offset for offset in OFFSETS[scene.place])
  yard = _block('left', _around(left, 0.58), _around(top, 0.58))
  canvas.polygon(yard, canvas.colour('paving'))
  for cell in _cells(scene):
    middle, least = _middle(cell), min(high - low for low, high in cell)
    radius = min(0.4 * least, 0.13) * canvas.rng.uniform(0.88, 1)
    canvas.disc(canvas.shadow([middle])[0], 1.04 * radius, canvas.colour('shadow'))
    canvas.disc(middle, radius, COLOURS[scene.colour])
    light = _mix(COLOURS[scene.colour], (0, 0, 0), 0.1)
    canvas.disc(middle, 0.3 * radius, light)


def _runways(canvas: _Canvas, scene: Scene) -> None:
  edge = _frame(scene)
  start = 0.3 if scene.place == 'centre' else 0.05
  runway = _block(edge, (start, start + 0.15), (-1, 2))
  canvas.polygon(runway, _mix(canvas.colour('road'), (0, 0, 0), 0.35))
  for t in np.arange(0.03, 1, 0.16):
    dash = _block(edge, _around(start + 0.075, 0.02), (t, t + 0.09))
    canvas.polygon(dash, canvas.colour('line'))
  apron = _block(edge, (start + 0.19, start + 0.42), (0.02, 0.98))
  canvas.polygon(apron, _mix(canvas.colour('paving'), (0, 0, 0), 0.15))
  for low, high in _spread(scene):
    _aircraft(canvas, edge, start + 0.305, (low + high) / 2, COLOURS[scene.colour])


def _aircraft(
  canvas: _Canvas, edge: str, depth: float, t: float, colour: Colour
) -> None:
  """An aircraft of length and span 0.18; its nose points away from the edge."""
  outline = (
    *((0.09, 0.0), (0.07, 0.02), (0.03, 0.02), (-0.015, 0.09), (-0.045, 0.09)),
    *((-0.025, 0.02), (-0.06, 0.02), (-0.07, 0.05), (-0.09, 0.05)),
  )
  shape = [*outline, *((x, -y) for x, y in outline[::-1])]
  points = [_point(edge, depth + x, t + y) for x, y in shape]
  canvas.polygon(canvas.shadow(points), canvas.colour('shadow'))
  canvas.polygon(points, colour)


def _harbours(canvas: _Canvas, scene: Scene) -> None:
  edge = scene.place
  canvas.polygon(_block(edge, (-1, 0.6), (-1, 2)), canvas.colour('water'))
  canvas.polygon(_block(edge, (0.58, 0.68), (-1, 2)), canvas.colour('paving'))
  piers = np.linspace(0, 1, (scene.count + 1) // 2 + 2)[1:-1].tolist()
  for i in range(scene.count):
    pier = piers[i // 2]
    wood = _block(edge, (0.18, 0.6), _around(pier, 0.045))
    canvas.polygon(wood, _mix(canvas.colour('paving'), (60, 40, 20), 0.4))
    t = pier + (0.085 if i % 2 else -0.085)
    stern = 0.5 + canvas.rng.uniform(-0.03, 0.03)
    hull = ((0, 0.04), (0.22, 0.04), (0.3, 0), (0.22, -0.04), (0, -0.04))
    points = [_point(edge, stern - x, t + y) for x, y in hull]
    canvas.polygon(points, COLOURS[scene.colour])


def _pitches(canvas: _Canvas, scene: Scene) -> None:
  line = canvas.colour('line')
  for cell in _cells(scene, box=0.58):
    (x, y), (wide, high) = _middle(cell), (high - low for low, high in cell)
    long = min(max(wide, high), 1.5 * min(wide, high))
    short = min(wide, high, long / 1.4)
    lying = scene.direction == 'horizontal' if math.isclose(wide, high) else wide > high
    wide, high = (long, short) if lying else (short, long)
    outer = (_around(x, wide), _around(y, high))
    canvas.polygon(_inset(outer, 0.014), line)
    canvas.polygon(_inset(outer, 0.032), COLOURS[scene.colour])
    canvas.disc((x, y), 0.19 * min(wide, high), line)
    canvas.disc((x, y), 0.19 * min(wide, high) - 0.016, COLOURS[scene.colour])


def _woods(canvas: _Canvas, scene: Scene) -> None:
  middle = np.array([0.5 + 0.19 * offset for offset in OFFSETS[scene.place]])
  spots = canvas.rng.uniform(-0.06, 1.06, size=(360, 2))
  spots = spots[np.hypot(*(spots - middle[None]).T) > 0.3]
  if scene.edge:
    x, y = spots.T
    depths = {'left': x, 'right': 1 - x, 'top': y, 'bottom': 1 - y}
    spots = spots[abs(depths[scene.edge] - _neighbour_depth(scene)) > 0.13]
  _trees(canvas, spots)
  huts = []
  for cell in _cells(scene, box=0.36):
    x, y = _middle(cell)
    huts.append(_block('left', _around(x, 0.11), _around(y, 0.11)))
  _houses(canvas, huts, COLOURS[scene.colour])


DRAWINGS = {
  'fields': _fields,
  'rivers': _rivers,
  'roads': _roads,
  'housing rows': _rows,
  'storage tanks': _tanks,
  'runways': _runways,
  'harbours': _harbours,
  'sports pitches': _pitches,
  'woods': _woods,
}
