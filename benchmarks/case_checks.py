"""What is right in each case of `benchmarks.cases`: a function a row of `CHECKS`.

Each takes the folder of its case and the program, and yields a `Check` for each thing
that was asked, with what was found as the program printed or wrote it.
"""

import itertools
import pathlib
import shutil
from collections.abc import Iterator

import numpy as np

from benchmarks.case_checks_of_data import CHECKS_OF_DATA
from benchmarks.commands import BOX, Check, Printed, Program

AIRPORT = 'an airport with planes'
HERE = (3.0, 45.15)  # of the scenes in UTM zone 31, in degrees
NEAR = 0.05  # degrees
SAME = 0.01  # between cosines of one picture after rounding to 8 bits
SAME_PLACE = 0.2  # intersection over union, of which more is one place


def check_uint16(case: pathlib.Path, program: Program) -> Iterator[Check]:
  """16 bits of reflectance times 10,000 beside the same picture of 8 bits."""
  tiles = ('--tile=64', '--stride=64')
  index, _ = program.index(case / 'u8', *tiles)
  eight, pictures = program.similarities(index, AIRPORT), program.shown(index, AIRPORT)
  for kind in sorted(path.name for path in case.iterdir() if path.name[1:] == '16'):
    index, printed = program.index(case / kind, *tiles)
    yield Check(
      f'{kind}: how values become colours is said',
      ' '.join(printed.rows('read as')),
      'becomes black' in ' '.join(printed.rows('read as')),
    )
    cosines = program.similarities(index, AIRPORT)
    alike = _alike(program.shown(index, AIRPORT), pictures)
    yield Check(
      f'{kind}: shown are the pictures of 8 bits, at most with more contrast',
      f'correlation of tiles from {min(alike):.3f}; airport: {_words(cosines)}; of 8 '
      f'bits: {_words(eight)}',
      len(alike) == 4 and min(alike) > 0.95,
    )
    index, _ = program.index(case / kind, *tiles, '--stretch=0,3000')
    cosines = program.similarities(index, AIRPORT)
    yield Check(
      f'{kind} --stretch=0,3000: the cosines of 8 bits ({_words(eight)})',
      _words(cosines),
      max(abs(cosines.get(box, -1) - value) for box, value in eight.items()) < SAME,
    )


def _alike(found: dict, expected: dict) -> list[float]:
  """Correlations of pictures with those of the same boxes."""
  pairs = [(found[box].ravel(), expected[box].ravel()) for box in expected]
  return [float(np.corrcoef(*pair)[0, 1]) for pair in pairs]


def _words(cosines: dict) -> str:
  return ', '.join(f'{value:.3f}' for value in sorted(cosines.values(), reverse=True))


def check_engineering(case: pathlib.Path, program: Program) -> Iterator[Check]:
  """A scene that has no longitude and latitude is indexed without a place."""
  for flags in (('--tile=64',), ()):
    index, printed = program.index(case / 'mixed', *flags)
    no_place = printed.rows('no place')
    yield Check(
      f'mixed {" ".join(flags)}: all indexed, one without a place, named once',
      f'exit {printed.code}, {printed.rows("images")} images; no place: {no_place}',
      printed.code == 0
      and printed.rows('images') == ['3']
      and len(no_place) == 1
      and 'm_engineering.tif' in no_place[0],
    )
    features, _ = program.mapped(index, AIRPORT, '--overlap=keep', '--top=100')
    images = sorted({feature['properties']['image'] for feature in features})
    yield Check(
      f'mixed {" ".join(flags)}: the good scenes are on the map, and where they are',
      ', '.join(images),
      images == ['a_good.tif', 'z_good.tif'] and all(map(_is_here, features)),
    )
  for name in ('moon', 'vertical'):
    yield from _check_no_place(case / name, program)


def check_no_transform(case: pathlib.Path, program: Program) -> Iterator[Check]:
  """A coordinate system without a transform is no place."""
  for name in ('utm', 'wgs84'):
    yield from _check_no_place(case / name, program)
  index, _ = program.index(case / 'truth', '--tile=64')
  features, _ = program.mapped(index, AIRPORT, '--overlap=keep')
  yield Check(
    'truth: all tiles on the map, at 3 E 45 N',
    f'{len(features)} features, from {_corner(features, min)} to '
    f'{_corner(features, max)}',
    len(features) == 9 and all(map(_is_here, features)),
  )


def _check_no_place(images: pathlib.Path, program: Program) -> Iterator[Check]:
  index, printed = program.index(images, '--tile=64')
  no_place = printed.rows('no place')
  yield Check(
    f'{images.name}: indexed, and said to have no place',
    f'exit {printed.code}, rows {printed.rows("rows")}; no place: {no_place}',
    printed.code == 0 and printed.rows('rows') == ['9'] and len(no_place) == 1,
  )
  features, printed = program.mapped(index, AIRPORT)
  yield Check(
    f'{images.name}: no map is made of it',
    f'exit {printed.code}: {printed.last_message}',
    not features and printed.is_refusal,
  )


def check_antimeridian(case: pathlib.Path, program: Program) -> Iterator[Check]:
  """A tile across longitude 180 is two parts, and no longitude is beyond it."""
  index, _ = program.index(case, '--tile=64', '--stride=64')
  features, _ = program.mapped(index, AIRPORT, '--top=8', '--overlap=keep')
  longitudes = [x for feature in features for x, _ in _points(feature)]
  yield Check(
    'longitudes of all tiles are from -180 to 180',
    f'{len(features)} features, {min(longitudes):.2f} to {max(longitudes):.2f}',
    len(features) == 4 and min(longitudes) >= -180 and max(longitudes) <= 180,
  )
  widths = [
    max(x for x, _ in part) - min(x for x, _ in part)
    for feature in features
    for part in _rings(feature)
  ]
  kinds = {
    feature['properties']['box'][0]: feature['geometry']['type'] for feature in features
  }
  yield Check(
    'tiles at left 64 are cut in two, each part narrow',
    f'left 0: {kinds.get(0)}, left 64: {kinds.get(64)}; widest part '
    f'{max(widths):.2f} degrees',
    kinds == {0: 'Polygon', 64: 'MultiPolygon'} and max(widths) < 2,
  )
  features, _ = program.mapped(index, AIRPORT, '--bbox=179.9,-90,-179.9,90', '--top=8')
  yield Check(
    '--bbox=179.9,-90,-179.9,90 finds what crosses',
    f'left of its features: {sorted(f["properties"]["box"][0] for f in features)}',
    {feature['properties']['box'][0] for feature in features} == {64},
  )


def check_bands(case: pathlib.Path, program: Program) -> Iterator[Check]:
  """Bands in any order, told by their descriptions, are one picture."""
  index, printed = program.index(case)
  cosines = program.similarities(index, AIRPORT)
  by_folder = {image.split('/')[0]: value for (image, *_), value in cosines.items()}
  for name, value in sorted(by_folder.items()):
    yield Check(
      f'{name}: the cosine of rgb ({by_folder["rgb"]:.6f})',
      f'{value:.6f}',
      value == by_folder['rgb'],
    )
  named = sorted(path.name for path in case.iterdir() if path.is_dir())
  yield Check(
    'all of them indexed', ', '.join(sorted(by_folder)), named == sorted(by_folder)
  )
  lines = printed.rows('read as')
  yield Check('how each was read is said', '; '.join(lines), len(lines) >= 3)


def check_whole_images(case: pathlib.Path, program: Program) -> Iterator[Check]:
  """Many bands and 16 bits without --tile, as with it and in `classify`."""
  for flags in ((), ('--bands=4,3,2',)):
    images = f'--images={case / "eurosat_ms"}'
    printed = program.call('classify', f'--workdir={program.run}', images, *flags)
    warned = 'the first three' in printed.messages or 'bands' in printed.messages
    yield Check(
      f'classify eurosat_ms {" ".join(flags)}: classified'
      + ('' if flags else ', with a warning that the bands were guessed'),
      f'exit {printed.code}; {_shortened(_warning(printed))}',
      printed.code == 0 and (bool(flags) or warned),
    )
  for name, flags in (('eurosat_ms', ('--bands=4,3,2',)), ('rgb16_min_is_black', ())):
    whole, printed = program.index(case / name, *flags)
    tiled, _ = program.index(case / name, '--tile=64', *flags)
    both = [program.similarities(index, AIRPORT) for index in (whole, tiled)]
    words = [', '.join(f'{value:.6f}' for value in of.values()) for of in both]
    yield Check(
      f'{name}: whole as in tiles',
      f'exit {printed.code}; whole {words[0]}; tiles {words[1]}',
      both[0] == both[1] and len(both[0]) == len([*(case / name).rglob('*.tif')]),
    )


def check_jpeg2000(case: pathlib.Path, program: Program) -> Iterator[Check]:
  """Sentinel-2's own pictures in tiles, and where they are."""
  index, printed = program.index(case / 'full', '--tile=256', '--stride=256')
  yield Check(
    'full, 10,980 px: 43 x 43 tiles',
    f'exit {printed.code}, rows {printed.rows("rows")}; {printed.rows("left out")}',
    printed.code == 0 and printed.rows('rows') == ['1,849'],
  )
  features, _ = program.mapped(index, AIRPORT, '--top=3')
  yield Check(
    'full: on the map',
    f'{len(features)} features, from {_corner(features, min)}',
    len(features) == 3 and 4 < _points(features[0])[0][0] < 6,
  )
  index, _ = program.index(case / 'small')
  features, _ = program.mapped(index, AIRPORT)
  yield Check(
    'small: at 3 E 45 N',
    f'{len(features)} features, from {_corner(features, min)} to '
    f'{_corner(features, max)}',
    len(features) == 1 and _is_here(features[0]),
  )


def check_overlap(case: pathlib.Path, program: Program) -> Iterator[Check]:
  """Copies of one place are one answer, unless all are asked for."""
  images = case.parent / 'uint16_reflectance' / 'u8'
  index, _ = program.index(images, '--tile=64', '--stride=16')
  for flags in ((), ('--overlap=keep',)):
    rows = program.answers(index, AIRPORT, '--top=12', *flags)
    shares = [_shared(one, other) for one, other in itertools.combinations(rows, 2)]
    keep = bool(flags)
    yield Check(
      f'{" ".join(flags) or "by default"}: '
      + ('all rows' if keep else 'each place once'),
      f'{len(rows)} answers; two of them share at most {max(shares):.2f} of what they '
      'cover',
      len(rows) == 12 if keep else max(shares) < SAME_PLACE,
    )


def check_stale(case: pathlib.Path, program: Program) -> Iterator[Check]:
  """The same command follows an archive that grows and changes."""
  pictures, archive = case / 'pictures', program.new('archive')
  archive.mkdir()
  index = program.new('index')

  def put(**files):
    for name, number in files.items():
      shutil.copyfile(pictures / f'{number:05}.png', archive / f'{name}.png')

  def step(asked, expected, *, failed=''):
    _, printed = program.index(archive, out=index)
    said = ' '.join(printed.rows('this call'))
    wrong = ' '.join(printed.rows('cannot be read'))
    return Check(
      asked,
      f'{said}; cannot be read: {wrong or "none"}',
      printed.code == 0
      and expected in said
      and bool(failed) == bool(wrong)
      and failed in wrong,
    )

  def best():
    rows = program.answers(index, AIRPORT, '--overlap=keep', '--top=4')
    return {row['image']: row['similarity'] for row in rows}

  put(site_a=2, site_b=0)
  (archive / 'site_c.png').write_bytes((pictures / '00008.png').read_bytes()[:600])
  yield step('one of three still being copied', '2 added', failed='site_c.png')
  before = best()
  put(site_c=8)
  yield step(
    'it is complete', '1 added, 0 changed, 0 dropped, 0 failed, 2 as they were'
  )
  put(site_a=0, site_b=11)
  yield step('two are replaced', '0 added, 2 changed')
  after = best()
  yield Check(
    'the scores are those of what is there now',
    f'site_a was {before["site_a.png"]:.3f}, is {after["site_a.png"]:.3f}; site_b, '
    f'which it is a copy of, was {before["site_b.png"]:.3f}',
    after['site_a.png'] == before['site_b.png'],
  )
  put(site_d=3)
  yield step(
    'a fourth arrives', '1 added, 0 changed, 0 dropped, 0 failed, 3 as they were'
  )
  (archive / 'site_b.png').unlink()
  yield step('one is gone', '0 added, 0 changed, 1 dropped')
  yield Check('it is not found', ', '.join(best()), 'site_b.png' not in best())


def check_bucket(case: pathlib.Path, program: Program) -> Iterator[Check]:
  """A bucket's address in any flag is one message, and makes no folder."""
  run, pictures = program.run, case.parent / 'index_stale' / 'pictures'
  root = case.parent / 'restval'
  model = f'--workdir={run}'
  train = (
    '--config=configs/methods.py:zero_shot:rsicd:tiny',
    f'--config.init={run}/pretrain',
    '--config.model.size=tiny-16',
    f'--config.data.root={root}',
    '--config.train.batch_size=3',
    '--config.train.epochs=1',
    '--dry_run',
  )
  commands = {
    'search index --out': (
      'search',
      'index',
      model,
      f'--images={pictures}',
      '--out=gs://bucket/i',
    ),
    'search index --images': (
      'search',
      'index',
      model,
      '--images=s3://bucket/p',
      '--out=i',
    ),
    'search query --index': ('search', 'query', '--index=gs://bucket/i', 'a pier'),
    'export --out': ('export', model, '--format=adapter', '--out=gs://bucket/a'),
    'train --workdir': ('main', *train, '--workdir=gs://bucket/run'),
    'classify --images': ('classify', model, '--images=gs://bucket/classes'),
  }
  for name, words in commands.items():
    printed = program.call(*words)
    made = [path.name for path in program.scratch.iterdir() if ':' in path.name]
    yield Check(
      f'{name}: one message, no folder',
      f'exit {printed.code}: {_shortened(printed.last_message)} {made or ""}'.strip(),
      printed.is_refusal and not made and 'ount' in printed.messages,
    )


# The rows of the table.
CHECKS = {
  'uint16_reflectance': check_uint16,
  'engineering_crs': check_engineering,
  'crs_without_transform': check_no_transform,
  'antimeridian': check_antimeridian,
  'band_order': check_bands,
  'whole_image_multiband': check_whole_images,
  'sentinel2_tci_jp2': check_jpeg2000,
  'overlapping_tiles': check_overlap,
  'index_stale': check_stale,
  'gs_path': check_bucket,
  **CHECKS_OF_DATA,
}


def _rings(feature: dict) -> list[list]:
  """The outer rings of a feature's polygons."""
  geometry = feature['geometry']
  polygons = geometry['coordinates']
  polygons = [polygons] if geometry['type'] == 'Polygon' else polygons
  return [polygon[0] for polygon in polygons]


def _points(feature: dict) -> list[tuple[float, float]]:
  return [tuple(point) for ring in _rings(feature) for point in ring]


def _is_here(feature: dict) -> bool:
  return all(
    abs(x - HERE[0]) < NEAR and abs(y - HERE[1]) < NEAR for x, y in _points(feature)
  )


def _corner(features: list[dict], most) -> str:
  """The least or the most of longitudes and of latitudes."""
  points = [point for feature in features for point in _points(feature)]
  return ' '.join(f'{most(values):.3f}' for values in zip(*points, strict=True))


def _shared(one: dict, other: dict) -> float:
  """Intersection over union of the boxes of two answers, 0 of two images."""
  if one['image'] != other['image']:
    return 0.0
  (left, top, width, height), (x, y, w, h) = (
    [row[side] for side in BOX] for row in (one, other)
  )
  across = max(min(left + width, x + w) - max(left, x), 0)
  down = max(min(top + height, y + h) - max(top, y), 0)
  return across * down / (width * height + w * h - across * down)


def _warning(printed: Printed) -> str:
  lines = [line for line in printed.messages.splitlines() if 'band' in line]
  return lines[0] if lines else 'no warning'


def _shortened(text: str) -> str:
  return text if len(text) < 200 else f'{text[:197]}...'
