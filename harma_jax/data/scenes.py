"""A data set from nothing: random drawn aerial scenes with captions that are true."""

import dataclasses
import json
import os
import pathlib
import tempfile

import numpy as np
from PIL import Image

from harma_jax.data.scene_drawing import OFFSETS, STYLES, Scene, render
from harma_jax.errors import UserError

__all__ = ['KINDS', 'STYLES', 'Scene', 'captions', 'render', 'sample_scene',
           'write_scenes']  # fmt: skip

VERSION = 1  # of the drawings and captions; a change makes `write_scenes` write anew
STAMP = 'scenes.json'
CAPTIONS = 'captions.jsonl'
IMAGES = 'images'

_CLUSTER = tuple(OFFSETS)
_STRIP = ('left', 'centre', 'right', 'top', 'bottom')
_OPPOSITE = {'left': 'right', 'right': 'left', 'top': 'bottom', 'bottom': 'top'}


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Kind:
  """What a kind of scene may hold, and its words.

  Attributes:
    counts: the most things.
    colours: of the things, far enough apart from each other and the ground.
    places: where they may be.
    neighbours: what may lie beside them.
    nouns: singular and plural of a thing, one pair a synonym.
    coloured: the text of `{colour}` in a noun.
    phrases: ways to say the things and what the kind adds.
    alone: what is beside them, and around, where there is no neighbour.
  """

  counts: int
  colours: tuple[str, ...]
  places: tuple[str, ...]
  neighbours: tuple[str | None, ...]
  nouns: tuple[tuple[str, str], ...]
  phrases: tuple[str, ...]
  coloured: str = '{} '
  alone: tuple[str, str] = ('in open country', 'open ground all around')


KINDS = {
  'fields': _Kind(
    counts=6,
    colours=('green', 'yellow', 'brown', 'purple'),
    places=_CLUSTER,
    neighbours=('river', 'road', 'woods', None),
    nouns=(('{colour}field', '{colour}fields'),
           ('{colour}crop field', '{colour}crop fields')),
    phrases=('{things}', '{things} with furrows {course}', 'farmland with {things}'),
  ),
  'rivers': _Kind(
    counts=4,
    colours=('red', 'orange', 'yellow', 'black'),
    places=_STRIP,
    neighbours=('road', 'woods', 'bridge', None),
    nouns=(('{colour}boat', '{colour}boats'),),
    phrases=('{things} on a river', 'a river {course} with {things}',
             'a wide winding river with {things}'),
    alone=('in open country', 'open land on both banks'),
  ),
  'roads': _Kind(
    counts=5,
    colours=('red', 'white', 'yellow', 'blue'),
    places=_STRIP,
    neighbours=('river', 'woods', 'crossroad', None),
    nouns=(('{colour}car', '{colour}cars'), ('{colour}vehicle', '{colour}vehicles')),
    phrases=('{things} on a road', 'a road {course} with {things}',
             'a straight street with {things}'),
  ),
  'housing rows': _Kind(
    counts=4,
    colours=('red', 'blue', 'black', 'orange'),
    places=_CLUSTER,
    neighbours=('river', 'road', 'woods', None),
    nouns=(('row of {colour}houses', 'rows of {colour}houses'),
           ('line of {colour}homes', 'lines of {colour}homes')),
    phrases=('{things}', '{things} {course}', 'a housing estate with {things}'),
    coloured='{}-roofed ',
  ),
  'storage tanks': _Kind(
    counts=6,
    colours=('white', 'red', 'blue', 'yellow', 'green'),
    places=_CLUSTER,
    neighbours=('river', 'road', 'woods', None),
    nouns=(('{colour}storage tank', '{colour}storage tanks'),
           ('round {colour}tank', 'round {colour}tanks')),
    phrases=('{things}', '{things} on a paved yard', 'a depot with {things}'),
  ),
  'runways': _Kind(
    counts=4,
    colours=('white', 'red', 'blue', 'yellow'),
    places=_STRIP,
    neighbours=('river', 'road', 'woods', None),
    nouns=(('{colour}plane', '{colour}planes'),
           ('{colour}airplane', '{colour}airplanes')),
    phrases=('{things} beside a runway', 'a runway {course} with {things}',
             'an airport with {things}'),
  ),
  'harbours': _Kind(
    counts=4,
    colours=('red', 'white', 'yellow', 'black', 'orange'),
    places=tuple(_OPPOSITE),
    neighbours=('road', 'woods', None),
    nouns=(('{colour}ship', '{colour}ships'), ('{colour}vessel', '{colour}vessels')),
    phrases=('{things} in a harbour', 'a port with {things}', '{things} by the quay'),
    alone=('with open land behind', 'open land behind the quay'),
  ),
  'sports pitches': _Kind(
    counts=4,
    colours=('green', 'red', 'blue', 'orange'),
    places=_CLUSTER,
    neighbours=('river', 'road', 'woods', None),
    nouns=(('{colour}sports pitch', '{colour}sports pitches'),
           ('{colour}playing field', '{colour}playing fields')),
    phrases=('{things}', '{things} with white lines', 'a sports ground with {things}'),
  ),
  'woods': _Kind(
    counts=4,
    colours=('red', 'blue', 'orange', 'yellow'),
    places=_CLUSTER,
    neighbours=('river', 'road', None),
    nouns=(('{colour}hut', '{colour}huts'), ('{colour}cabin', '{colour}cabins')),
    phrases=('{things} in a clearing of the woods', 'a forest clearing with {things}',
             'a wood with {things}'),
    coloured='{}-roofed ',
    alone=('among the trees', 'nothing but trees around'),
  ),
}  # fmt: skip

_NUMBERS = ('one', 'two', 'three', 'four', 'five', 'six')
_COURSES = {
  'vertical': ('running from top to bottom', 'running up and down'),
  'horizontal': ('running from left to right', 'running across'),
}
_BESIDE = {
  'river': ('beside a river', 'next to a river', 'close to a river'),
  'road': ('beside a road', 'next to a road', 'near a straight road'),
  'woods': ('beside woods', 'next to a forest', 'near many trees'),
  'bridge': ('near a bridge', 'where a bridge crosses the water'),
  'crossroad': ('at a crossroads', 'where a second road crosses'),
}
_ALONG = {
  'river': ('a river along the {edge} edge', 'a river {side}'),
  'road': ('a road along the {edge} edge', 'a road {side}'),
  'woods': ('trees along the {edge} edge', 'woods {side}'),
  'bridge': ('a bridge near the {edge} edge', 'a bridge {side}'),
  'crossroad': ('a second road crossing near the {edge} edge', 'a crossing {side}'),
}
# Each caption of an image comes from another row: what it names, ways to put it.
_FACETS = (
  (('number', 'colour'), ('{phrase} {where}', '{where}, {phrase}',
                          'a satellite image of {phrase} {where}')),
  (('colour',), ('{phrase} {beside}', 'a picture of {phrase} {beside}',
                 '{beside} one can see {phrase}')),
  (('number',), ('{phrase} and {along}', 'a scene with {along} and {phrase}',
                 'seen from above: {phrase}, {along}')),
  (('colour',), ('{phrase} {where}, {along}', '{along}; {where}, {phrase}',
                 'an aerial photograph shows {phrase} {where} and {along}')),
  (('number', 'colour'), ('{phrase} {where}, {beside}',
                          '{where} and {beside}: {phrase}',
                          'a view of {phrase} {where} of the picture, {beside}')),
)  # fmt: skip


def sample_scene(rng: np.random.Generator) -> Scene:
  """Draws what is where, at random: kinds, counts, colours and places uniformly."""
  name = _pick(rng, tuple(KINDS))
  kind = KINDS[name]
  place = _pick(rng, kind.places)
  direction = _pick(rng, ('horizontal', 'vertical'))
  if kind.places is not _CLUSTER and place != 'centre':
    direction = 'vertical' if place in ('left', 'right') else 'horizontal'
  neighbour = _pick(rng, kind.neighbours)
  edges = _free_edges(name, place=place, direction=direction, neighbour=neighbour)
  return Scene(
    kind=name,
    count=int(rng.integers(1, kind.counts + 1)),
    colour=_pick(rng, kind.colours),
    place=place,
    direction=direction,
    neighbour=neighbour,
    edge=_pick(rng, edges) if neighbour else None,
  )


def _pick(rng: np.random.Generator, choices: tuple) -> object:
  return choices[rng.integers(len(choices))]


def _free_edges(
  kind: str, *, place: str, direction: str, neighbour: str | None
) -> tuple[str, ...]:
  """The edges where a neighbour covers none of the scene's things."""
  if KINDS[kind].places is _CLUSTER:
    return tuple(edge for edge in _OPPOSITE if edge not in place.split())
  beside, across = ('left', 'right'), ('top', 'bottom')
  if direction == 'horizontal':
    beside, across = across, beside
  if neighbour in ('bridge', 'crossroad'):
    return across
  if place != 'centre':
    return (_OPPOSITE[place],)
  # A runway in the centre has its aircraft on the far side; only the near one is free.
  return beside[:1] if kind == 'runways' else beside


def captions(scene: Scene, rng: np.random.Generator, *, count: int = 5) -> list[str]:
  """Says what a scene shows, in sentences true of its drawing in every style.

  Made things and crops keep their colour in every style; no other is named. Five
  captions in a row differ in what they name: number, colour, place, neighbour, edge.

  Args:
    scene: what to tell.
    rng: for the choice of words.
    count: how many captions.

  Returns:
    `count` lower-case captions.
  """
  first = int(rng.integers(len(_FACETS)))
  rows = [_FACETS[(first + i) % len(_FACETS)] for i in range(count)]
  return [_caption(scene, rng, named, _pick(rng, forms)) for named, forms in rows]


def _caption(
  scene: Scene, rng: np.random.Generator, named: tuple[str, ...], form: str
) -> str:
  kind = KINDS[scene.kind]
  along = kind.alone[1]
  if scene.neighbour:
    edge, side = scene.edge, _places(scene.edge)[0]
    along = _pick(rng, _ALONG[scene.neighbour]).format(edge=edge, side=side)
  phrase = _pick(rng, kind.phrases).format(
    things=_things(scene, rng, named), course=_pick(rng, _COURSES[scene.direction])
  )
  beside = _pick(rng, _BESIDE.get(scene.neighbour, kind.alone[:1]))
  where = _pick(rng, _places(scene.place))
  return form.format(phrase=phrase, where=where, beside=beside, along=along)


def _places(place: str) -> tuple[str, ...]:
  if place == 'centre':
    return ('in the centre', 'in the middle')
  if ' ' in place:
    vertical, horizontal = place.split()
    level = {'top': 'upper', 'bottom': 'lower'}[vertical]
    return (f'in the {place} corner', f'at the {level} {horizontal}')
  return {
    'left': ('on the left', 'on the left side'),
    'right': ('on the right', 'on the right side'),
    'top': ('at the top', 'in the upper part'),
    'bottom': ('at the bottom', 'in the lower part'),
  }[place]


def _things(scene: Scene, rng: np.random.Generator, named: tuple[str, ...]) -> str:
  """The scene's things with their number and colour, where `named`."""
  kind = KINDS[scene.kind]
  noun = _pick(rng, kind.nouns)[scene.count > 1]
  colour = kind.coloured.format(scene.colour) if 'colour' in named else ''
  noun = noun.format(colour=colour)
  if 'number' in named:
    return f'{_NUMBERS[scene.count - 1]} {noun}'
  if scene.count > 1:
    return noun
  return f'{"an" if noun[0] in "aeiou" else "a"} {noun}'


def write_scenes(
  folder: str | os.PathLike,
  *,
  counts: dict[str, int],
  side: int,
  style: str,
  seed: int,
) -> pathlib.Path:
  """Writes a data set of drawn scenes, unless the folder holds it already.

  The folder then holds `images/<split>/NNNNN.png`, `captions.jsonl` (five rows an
  image: `image`, relative to `images`, `caption`, `split`) and `scenes.json`, the
  arguments. Equal arguments but `style` give the same scenes and captions in another
  style. It is written beside the folder and renamed: a run that stops leaves no half
  of a data set.

  Args:
    folder: where; replaced if it holds scenes of other arguments.
    counts: images of each split.
    side: pixels of an image's side.
    style: one of `STYLES`.
    seed: not negative.

  Returns:
    The folder.

  Raises:
    UserError: an impossible argument; a folder with files that are not scenes.
  """
  _check_arguments(counts=counts, side=side, style=style, seed=seed)
  folder = pathlib.Path(folder).absolute()
  stamp = {'counts': dict(counts), 'side': side, 'style': style, 'seed': seed}
  stamp['version'] = VERSION
  if _is_finished(folder, stamp):
    return folder
  _check_replaceable(folder)
  folder.parent.mkdir(parents=True, exist_ok=True)
  with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f'.{folder.name}-') as new:
    _write(pathlib.Path(new) / 'scenes', stamp)
    # Another process may have finished the same folder in the meantime.
    if not _is_finished(folder, stamp):
      _replace(folder, pathlib.Path(new) / 'scenes')
  return folder


def _check_arguments(
  *, counts: dict[str, int], side: int, style: str, seed: int
) -> None:
  if style not in STYLES:
    raise UserError(
      f'Style of drawn scenes: expected one of {", ".join(STYLES)}; found {style!r}.'
    )
  if side < 16:
    raise UserError(
      f'Side of drawn scenes: expected at least 16 pixels; found {side}. '
      'Smaller things cannot be told apart; 64 is a good start.'
    )
  if seed < 0:
    raise UserError(f'Seed of drawn scenes: expected 0 or more; found {seed}.')
  if not counts:
    raise UserError(
      'Counts of drawn scenes: expected at least one split; found none. '
      'Give for example train=2000, test=200.'
    )
  for split, count in counts.items():
    if count < 1 or not split or pathlib.Path(split).name != split:
      raise UserError(
        'Counts of drawn scenes: expected a plain name and at least one image for '
        f'every split; found {split!r}: {count}. Leave out a split that is not wanted.'
      )


def _is_finished(folder: pathlib.Path, stamp: dict) -> bool:
  if not (folder / CAPTIONS).is_file() or _read_stamp(folder) != stamp:
    return False
  return all(
    len(list((folder / IMAGES / split).glob('*.png'))) == count
    for split, count in stamp['counts'].items()
  )


def _read_stamp(folder: pathlib.Path) -> dict | None:
  """The arguments of the scenes in a folder; None where there are none."""
  try:
    stamp = json.loads((folder / STAMP).read_text())
  except (OSError, ValueError):
    return None
  return stamp if isinstance(stamp, dict) and 'version' in stamp else None


def _check_replaceable(folder: pathlib.Path) -> None:
  """Refuses to replace anything that `write_scenes` did not write."""
  if not folder.exists():
    return
  names = {path.name for path in folder.iterdir()} if folder.is_dir() else {folder.name}
  ours = {STAMP, CAPTIONS, IMAGES} if _read_stamp(folder) else set()
  if names - ours:
    raise UserError(
      f'Folder of drawn scenes: expected {folder} to be new, empty or written by this '
      f'program; found {", ".join(sorted(names - ours)[:3])} in it. Nothing was '
      'changed: choose another folder, or move these files away.'
    )


def _write(folder: pathlib.Path, stamp: dict) -> None:
  folder.mkdir()
  with (folder / CAPTIONS).open('w') as file:
    for index, split in enumerate(sorted(stamp['counts'])):
      (folder / IMAGES / split).mkdir(parents=True)
      for i in range(stamp['counts'][split]):
        source = np.random.SeedSequence([stamp['seed'], index, i])
        # One stream each: a style's strokes must not change the words.
        what, drawing, words = map(np.random.default_rng, source.spawn(3))
        scene = sample_scene(what)
        pixels = render(scene, drawing, side=stamp['side'], style=stamp['style'])
        name = f'{split}/{i:05d}.png'
        Image.fromarray(pixels).save(folder / IMAGES / name, compress_level=1)
        for caption in captions(scene, words):
          row = {'image': name, 'caption': caption, 'split': split}
          file.write(json.dumps(row) + '\n')
  (folder / STAMP).write_text(json.dumps(stamp, indent=2) + '\n')


def _replace(folder: pathlib.Path, new: pathlib.Path) -> None:
  if folder.exists():
    folder.rename(new.with_name('old'))
  new.rename(folder)
