"""A small archive of scenes as archives have them, with what is in each.

`make_archive(folder)` writes 60 files of 64 to 256 pixels, the same at each call; each
is a drawn scene in one of the kinds of file that people hold: bits, signs, bands and
their names, colours, compressions, masks, places, and files that are broken.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Mapping

import numpy as np
import rasterio
from PIL import Image, ImageCms
from rasterio import shutil, warp
from rasterio.control import GroundControlPoint
from rasterio.enums import ColorInterp
from rasterio.rpc import RPC

from harma_jax.data.scene_drawing import render
from harma_jax.data.scenes import sample_scene

SIDE = 96
UTM = 'EPSG:32632'
EAST, NORTH, PIXEL = 400_000, 5_200_000, 10  # metres, of the first scene
APART = 3_000  # metres, from one scene to the next

LOCAL = 'LOCAL_CS["site grid",UNIT["metre",1]]'
MOON = (
  'GEOGCS["Moon 2000",DATUM["D_Moon_2000",SPHEROID["Moon",1737400,0]],'
  'PRIMEM["Greenwich",0],UNIT["Degree",0.0174532925199433]]'
)
DISK = '+proj=geos +h=35785831 +lon_0=0 +sweep=y +ellps=WGS84 +units=m'
NUMBERS = [f'{number:02}' for number in range(1, 13)]
SENTINEL2 = [f'B{name}' for name in (*NUMBERS[:8], '8A', *NUMBERS[8:])]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scene:
  """What a file of the archive holds.

  Attributes:
    write: makes the file at a path.
    about: what kind of file, in words.
    colors: u8[H, W, 3] that are to be seen; None for a file that cannot be read.
    share: of it that holds data.
    centre: longitude and latitude of its middle; None for no place.
    refused: a word of the message, of a file that cannot be read.
  """

  write: Callable[[pathlib.Path], None]
  about: str
  colors: np.ndarray | None = None
  share: float = 1.0
  centre: tuple[float, float] | None = None
  refused: str = ''


def make_archive(
  folder: pathlib.Path, scenes: Mapping[str, Scene] | None = None
) -> Mapping[str, Scene]:
  """Writes the files into `folder`; name -> what is in it."""
  scenes = make_scenes() if scenes is None else scenes
  for name, scene in scenes.items():
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    scene.write(folder / name)
  return scenes


@functools.cache
def draw(seed: int, side: int = SIDE) -> np.ndarray:
  """u8[side, side, 3], a drawn scene; no value is 0 or 255, which files use."""
  rng = np.random.default_rng(seed)
  pixels = render(sample_scene(rng), rng, side=side, style='summer')
  return np.clip(pixels, 5, 250)


def grey_of(colors: np.ndarray) -> np.ndarray:
  """u8[H, W] of u8[H, W, 3]."""
  return np.asarray(Image.fromarray(colors).convert('L'))


def shown(grey: np.ndarray) -> np.ndarray:
  """u8[H, W, 3] of grey."""
  return np.repeat(grey[..., None], 3, axis=-1)


def write_gdal(
  path: pathlib.Path,
  values: np.ndarray,
  *,
  driver: str = 'GTiff',
  interpretation: tuple[str, ...] = (),
  names: tuple[str, ...] = (),
  palette: Mapping | None = None,
  mask: np.ndarray | None = None,
  gcps: tuple | None = None,
  rpcs: RPC | None = None,
  **profile,
) -> None:
  """Writes values [bands, H, W] by GDAL."""
  count, height, width = values.shape
  shape = {'count': count, 'height': height, 'width': width, 'dtype': values.dtype}
  made = driver != 'GTiff'  # a driver that only copies
  placing = {name: profile[name] for name in ('crs', 'transform') if name in profile}
  with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.MemoryFile() as memory:
    with memory.open(driver='GTiff', **shape, **(placing if made else profile)) as new:
      if interpretation:
        new.colorinterp = [ColorInterp[name] for name in interpretation]
      for band, name in enumerate(names, 1):
        new.set_band_description(band, name)
      if gcps:
        new.gcps = gcps
      if rpcs:
        new.rpcs = rpcs
      new.write(values)
      if palette:
        new.write_colormap(1, palette)
      if mask is not None:
        new.write_mask(mask)
    if made:
      options = {k: v for k, v in profile.items() if k not in placing}
      with memory.open() as scene:
        shutil.copy(scene, path, driver=driver, **options)
    else:
      path.write_bytes(memory.read())


def bands_of(colors: np.ndarray) -> np.ndarray:
  """[3, H, W] of [H, W, 3]."""
  return np.ascontiguousarray(np.moveaxis(colors, -1, 0))


def reflectance(colors: np.ndarray, dtype: str, *, most: float = 3000) -> np.ndarray:
  """[3, H, W] of values in proportion to colours, 255 being `most`."""
  return (bands_of(colors).astype(np.float64) * most / 255).astype(dtype)


def infrared(colors: np.ndarray) -> np.ndarray:
  """u8[H, W], a band that is no colour: bright where red is dark."""
  return (255 - colors[..., 0] // 2 - np.arange(len(colors))[:, None] % 16).astype('u1')


class Scenes:
  """Collects scenes, each with a picture and a place of its own."""

  def __init__(self):
    self.found: dict[str, Scene] = {}

  def picture(self, side: int = SIDE) -> np.ndarray:
    return draw(100 + len(self.found), side)

  def place(self, crs: str = UTM) -> dict:
    """Where the next scene lies, as rasterio takes it."""
    number = len(self.found)
    x, y = EAST + APART * (number % 10), NORTH - APART * (number // 10)
    return {'crs': crs, 'transform': rasterio.Affine(PIXEL, 0, x, 0, -PIXEL, y)}

  def add(self, name: str, about: str, colors, write, **others) -> None:
    """Adds a scene as `Scene` has it, written by `write(path)`."""
    self.found[name] = Scene(write=write, about=about, colors=colors, **others)

  def tiff(self, name, about, colors, values, *, share=1.0, refused='', **profile):
    """Adds one that GDAL writes at the next place, with its centre."""
    place = self.place()
    profile = place | profile
    centre = (
      None if refused else centre_of(values.shape, **{n: profile[n] for n in place})
    )
    write = functools.partial(write_gdal, values=values, **profile)
    colors = None if refused else colors
    self.add(name, about, colors, write, share=share, centre=centre, refused=refused)


def centre_of(shape, *, crs, transform) -> tuple[float, float] | None:
  """Longitude and latitude of the middle of values [bands, H, W]."""
  x, y = _at(transform, shape[2] / 2, shape[1] / 2)
  [longitude], [latitude] = warp.transform(crs, 'EPSG:4326', [x], [y])
  return (longitude + 180) % 360 - 180, latitude


def _at(transform, column: float, row: float) -> tuple[float, float]:
  to = transform
  return to.a * column + to.b * row + to.c, to.d * column + to.e * row + to.f


def make_scenes() -> dict[str, Scene]:
  """Name -> scene, of all 60."""
  scenes = Scenes()
  for add in (
    _compressions,
    _colors,
    _bits,
    _band_names,
    _no_data,
    _plain,
    _places,
    _no_places,
    _broken,
  ):
    add(scenes)
  return scenes.found


def _compressions(scenes: Scenes) -> None:
  """One picture of 8 bits in the forms that GDAL writes."""
  kinds = {
    'strips': {},
    'planar': {'interleave': 'band'},
    'tiled_deflate': {
      **{'tiled': True, 'blockxsize': 64, 'blockysize': 64},
      **{'compress': 'deflate', 'predictor': 2},
    },
    'jpeg_ycbcr': {'compress': 'jpeg', 'photometric': 'ycbcr', 'jpeg_quality': 90},
    'bigtiff': {'bigtiff': 'yes'},
    'cog': {'driver': 'COG', 'blocksize': 128, 'overviews': 'auto'},
  }
  for name, profile in kinds.items():
    colors = scenes.picture(256 if name == 'cog' else SIDE)
    path = f'forms/rgb8_{name}.tif'
    scenes.tiff(path, f'8 bits, {name}', colors, bands_of(colors), **profile)
  for bits in (8, 16):
    colors = scenes.picture(128)
    values = bands_of(colors) if bits == 8 else reflectance(colors, 'u2')
    scenes.tiff(
      f'forms/T32TMT_TCI_{bits}bit.jp2',
      f'JPEG 2000 of {bits} bits',
      colors,
      values,
      driver='JP2OpenJPEG',
      reversible='yes',
      quality=100,
    )


def _colors(scenes: Scenes) -> None:
  """Grey, palettes, negatives, inks."""
  colors = scenes.picture()
  grey = grey_of(colors)
  scenes.tiff('colours/grey8.tif', 'grey of 8 bits', shown(grey), grey[None])
  negative = {'photometric': 'miniswhite'}
  grey = grey_of(scenes.picture())
  scenes.tiff(
    'colours/min_is_white8.tif',
    'min-is-white',
    shown(grey),
    255 - grey[None],
    **negative,
  )
  grey = grey_of(scenes.picture())
  deep = (65_535 - 257 * grey.astype('u2'))[None]
  scenes.tiff(
    'colours/min_is_white16.tif',
    'min-is-white of 16 bits',
    shown(grey),
    deep,
    **negative,
  )
  grey = grey_of(scenes.picture())
  scenes.tiff(
    'colours/bilevel.tif',
    '1 bit',
    shown(255 * (grey > 110).astype('u1')),
    (grey > 110).astype('u1')[None],
    nbits=1,
  )
  image = Image.fromarray(scenes.picture()).quantize(32)
  table = np.array(image.getpalette()[: 3 * 32], np.uint8).reshape(-1, 3)
  index = np.asarray(image)
  palette = {i: (*color, 255) for i, color in enumerate(table.tolist())}
  scenes.tiff(
    'colours/palette.tif', 'a palette', table[index], index[None], palette=palette
  )
  inks = Image.fromarray(scenes.picture()).convert('CMYK')
  scenes.tiff(
    'colours/cmyk.tif',
    'inks',
    scenes.picture(),
    bands_of(np.asarray(inks)),
    photometric='cmyk',
  )
  colors = scenes.picture()
  scenes.tiff(
    'colours/lab.tif', 'CIE L*a*b*', colors, _lab_of(colors), photometric='cielab'
  )


def _lab_of(colors: np.ndarray) -> np.ndarray:
  """[3, H, W] as TIFF has it: a* and b* with a sign."""
  rgb, lab = ImageCms.createProfile('sRGB'), ImageCms.createProfile('LAB')
  image = ImageCms.profileToProfile(Image.fromarray(colors), rgb, lab, outputMode='LAB')
  return bands_of(np.asarray(image))


def _bits(scenes: Scenes) -> None:
  """Numbers that are no bytes."""
  kinds = {
    'u16_reflectance': ('u2', 3000, {}),
    'u16_planar': ('u2', 3000, {'interleave': 'band'}),
    'u16_nbits12': ('u2', 4095, {'nbits': 12}),
    'i16': ('i2', 3000, {}),
    'u32': ('u4', 70_000, {}),
    'f32': ('f4', 0.3, {}),
    'f64_tiled': ('f8', 0.3, {'tiled': True, 'blockxsize': 64, 'blockysize': 64}),
  }
  for name, (dtype, most, profile) in kinds.items():
    colors = scenes.picture()
    values = reflectance(colors, dtype, most=most)
    scenes.tiff(f'bits/{name}.tif', f'{dtype}, up to {most}', colors, values, **profile)
  colors = scenes.picture()
  values = reflectance(colors, 'c8')[:1]
  scenes.tiff(
    'bits/complex64.tif', 'complex numbers', colors, values, refused='absolute values'
  )


def _band_names(scenes: Scenes) -> None:
  """More bands than three, in orders of their own."""

  def stack(colors, order, dtype='u1'):
    """Bands in an order of r, g, b; any other letter is no colour."""
    parts = dict(zip('rgb', bands_of(colors), strict=True))
    bands = np.stack([parts.get(letter, infrared(colors)) for letter in order])
    return bands if dtype == 'u1' else (bands.astype(dtype) * 11)

  products = {
    'sentinel2_13': ('xbgrxxxxxxxxx', SENTINEL2, 'u2', {}),
    'landsat9_sr': ('xbgrxxx', [f'SR_B{i}' for i in range(1, 8)], 'u2', {}),
    'planet_4': ('bgrn', ['blue', 'green', 'red', 'nir'], 'u2', {}),
    'superdove_8': (
      'xbxgxrxn',
      ['coastal_blue', 'blue', 'green_i', 'green', 'yellow', 'red', 'rededge', 'nir'],
      'u2',
      {},
    ),
    'wavelengths': ('bgrn', ['490 nm', '560 nm', '665 nm', '842 nm'], 'u1', {}),
    'bgr_colorinterp': ('bgr', [], 'u1', {'interpretation': ('blue', 'green', 'red')}),
  }
  for name, (order, names, dtype, profile) in products.items():
    colors = scenes.picture()
    values = stack(colors, order, dtype)
    about = f'bands {", ".join(names) or order}'
    scenes.tiff(
      f'bands/{name}.tif', about, colors, values, names=tuple(names), **profile
    )
  colors = scenes.picture()
  values = stack(colors, 'rgbnn', 'u2')
  scenes.tiff('bands/five_unnamed.tif', 'five bands without a name', colors, values)
  colors = scenes.picture()
  values = np.concatenate([bands_of(colors), infrared(colors)[None]])
  scenes.tiff(
    'bands/rgb_nir_as_alpha.tif',
    'near infrared that is called alpha',
    colors,
    values,
    interpretation=('red', 'green', 'blue', 'alpha'),
  )


def _no_data(scenes: Scenes) -> None:
  """Scenes of which a part is empty, or all."""
  empty = np.zeros((SIDE, SIDE), bool)
  empty[:, SIDE // 2 :] = True
  colors = scenes.picture()
  half = np.where(empty[..., None], 0, colors)
  rgba = np.concatenate([bands_of(colors), np.where(empty, 0, 255).astype('u1')[None]])
  scenes.tiff(
    'no_data/alpha.tif',
    'alpha 0 in one half',
    half,
    rgba,
    share=0.5,
    interpretation=('red', 'green', 'blue', 'alpha'),
  )
  colors = scenes.picture()
  half = np.where(empty[..., None], 0, colors).astype('u1')
  scenes.tiff(
    'no_data/value_0.tif',
    'no data: 0, one half',
    half,
    bands_of(half),
    share=0.5,
    nodata=0,
  )
  colors = scenes.picture()
  mask = np.where(empty, 0, 255).astype('u1')
  scenes.tiff(
    'no_data/mask.tif',
    'a mask over one half',
    np.where(empty[..., None], 0, colors),
    bands_of(colors),
    share=0.5,
    mask=mask,
  )
  colors = scenes.picture()
  values = reflectance(colors, 'f4', most=0.3)
  values[:, empty] = np.nan
  scenes.tiff(
    'no_data/nan.tif',
    'NaN in one half',
    np.where(empty[..., None], 0, colors),
    values,
    share=0.5,
  )
  nothing = np.zeros((3, SIDE, SIDE), 'u1')
  scenes.tiff(
    'no_data/all_of_it.tif', 'no data at all', None, nothing, share=0.0, nodata=0
  )


def _plain(scenes: Scenes) -> None:
  """Pictures as cameras and screens make them: no place."""
  for name, options in {
    'photo.jpg': {'quality': 92},
    'drawing.png': {},
    'web.webp': {'quality': 92},
    'old.bmp': {},
  }.items():
    colors = scenes.picture()
    scenes.add(
      f'plain/{name}',
      name.split('.')[1],
      colors,
      functools.partial(Image.fromarray(colors).save, **options),
    )
  colors = scenes.picture()[: SIDE // 2]
  exif = Image.Exif()
  exif[274] = 6  # to be turned right
  scenes.add(
    'plain/turned.jpg',
    'JPEG to be turned',
    np.rot90(colors, -1),
    functools.partial(Image.fromarray(colors).save, quality=92, exif=exif),
  )
  colors = scenes.picture()
  values = 257 * bands_of(colors).astype('u2')
  scenes.add(
    'plain/deep.png',
    'PNG of 16 bits',
    colors,
    functools.partial(write_gdal, values=values, driver='PNG'),
  )


def _places(scenes: Scenes) -> None:
  """Ways to say where a scene lies."""
  Affine = rasterio.Affine
  crs_of = {
    'rotated.tif': (UTM, Affine(8, 5, 500_000, 5, -8, 5_200_000)),
    'antimeridian.tif': ('EPSG:32601', Affine(1000, 0, 170_000, 0, -1000, 5_000_000)),
    'longitude_190.tif': ('EPSG:4326', Affine(0.01, 0, 190, 0, -0.01, -17)),
    'north_pole.tif': ('EPSG:3413', Affine(1000, 0, -40_000, 0, -1000, 56_000)),
  }
  for name, (crs, transform) in crs_of.items():
    colors = scenes.picture()
    scenes.tiff(
      f'places/{name}',
      f'{crs}, {name.split(".")[0]}',
      colors,
      bands_of(colors),
      crs=crs,
      transform=transform,
    )
  colors = scenes.picture()
  corners = {
    (0, 0): (8, 47),
    (0, SIDE): (8.1, 47),
    (SIDE, 0): (8, 46.9),
    (SIDE, SIDE): (8.1, 46.9),
  }
  points = [
    GroundControlPoint(row=r, col=c, x=x, y=y) for (r, c), (x, y) in corners.items()
  ]
  write = functools.partial(
    write_gdal, values=bands_of(colors), gcps=(points, rasterio.crs.CRS.from_epsg(4326))
  )
  scenes.add(
    'places/control_points.tif',
    'ground control points',
    colors,
    write,
    centre=(8.05, 46.95),
  )
  colors = scenes.picture()
  rpcs = rpcs_around(11.0, 48.0, degrees=0.1)
  write = functools.partial(write_gdal, values=bands_of(colors), rpcs=rpcs)
  scenes.add('places/rpc.tif', 'rational polynomials', colors, write, centre=(11, 48))
  for name in ('world_file.jpg', 'world_file_alone.jpg', 'world_file.tif'):
    colors, place, prj = scenes.picture(), scenes.place(), 'alone' not in name
    write = functools.partial(_write_beside, colors=colors, prj=prj, **place)
    centre = centre_of((3, SIDE, SIDE), **place) if prj else None
    scenes.add(
      f'places/{name}',
      f'a world file, {"and" if prj else "no"} .prj',
      colors,
      write,
      centre=centre,
    )


def rpcs_around(longitude: float, latitude: float, *, degrees: float) -> RPC:
  """Polynomials of a scene of `degrees` in both directions, north up."""

  def first(*values):
    return [*values, *[0.0] * (20 - len(values))]

  middle = (SIDE - 1) / 2  # offsets are those of a pixel's centre
  return RPC(
    height_off=0,
    height_scale=1,
    lat_off=latitude,
    lat_scale=degrees / 2,
    long_off=longitude,
    long_scale=degrees / 2,
    line_off=middle,
    line_scale=SIDE / 2,
    samp_off=middle,
    samp_scale=SIDE / 2,
    line_num_coeff=first(0, 0, -1),
    line_den_coeff=first(1),
    samp_num_coeff=first(0, 1),
    samp_den_coeff=first(1),
    err_bias=None,
    err_rand=None,
  )


def _write_beside(
  path: pathlib.Path, *, colors, prj: bool, crs: str, transform
) -> None:
  Image.fromarray(colors).save(path, quality=92)
  a = transform
  lines = [a.a, a.d, a.b, a.e, *_at(a, 0.5, 0.5)]
  path.with_suffix(f'.{path.suffix[1]}{path.suffix[-1]}w').write_text(
    ''.join(f'{value}\n' for value in lines)
  )
  if prj:
    path.with_suffix('.prj').write_text(rasterio.crs.CRS.from_user_input(crs).to_wkt())


def _no_places(scenes: Scenes) -> None:
  """Coordinates that lead to no longitude and latitude."""
  here = scenes.place()['transform']
  kinds = {
    'none_at_all.tif': {'crs': None, 'transform': None},
    'no_transform.tif': {'crs': UTM, 'transform': None},
    'engineering.tif': {'crs': LOCAL, 'transform': here},
    'moon.tif': {'crs': MOON, 'transform': rasterio.Affine(0.01, 0, 1, 0, -0.01, 10)},
  }
  for name, place in kinds.items():
    colors = scenes.picture()
    given = {key: value for key, value in place.items() if value is not None}
    write = functools.partial(write_gdal, values=bands_of(colors), **given)
    scenes.add(f'no_places/{name}', name.split('.')[0].replace('_', ' '), colors, write)
  colors = scenes.picture(128)
  disk = rasterio.Affine(87_000, 0, -64 * 87_000, 0, -87_000, 64 * 87_000)
  write = functools.partial(
    write_gdal, values=bands_of(colors), crs=DISK, transform=disk
  )
  scenes.add(
    'no_places/full_disk.tif', 'a geostationary disk', colors, write, centre=(0, 0)
  )


def _broken(scenes: Scenes) -> None:
  """Files that are no pictures, or not all of one."""
  colors = scenes.picture()

  def cut(path, write):
    write(path)
    path.write_bytes(path.read_bytes()[:2000])

  def jpeg(path):
    Image.fromarray(colors).save(path, format='JPEG', quality=92)

  def tiff(path):
    write_gdal(path, bands_of(colors), compress='deflate')

  kinds = {
    'cut.tif': ('TIFF, its first 2,000 bytes', functools.partial(cut, write=tiff)),
    'cut.jpg': ('JPEG, its first 2,000 bytes', functools.partial(cut, write=jpeg)),
    'empty.tif': ('no byte', lambda path: path.write_bytes(b'')),
    'words.tif': ('a text', lambda path: path.write_text('not found\n')),
  }
  for name, (about, write) in kinds.items():
    scenes.add(f'broken/{name}', about, None, write, refused=' ')
