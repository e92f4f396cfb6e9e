"""Image files from strangers: each is an RGB image, as promised, or a UserError.

Every file is made here by code, so that no hostile file lies in the repository.
"""

import contextlib
import io
import os
import pickle
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, UnidentifiedImageError

from harma_jax.data.images import decode_image, read_image
from harma_jax.errors import UserError
from harma_jax.raster import scene
from harma_jax.raster.how import How

HEIGHT, WIDTH = 16, 32
RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
ALPHA = RNG.integers(0, 256, (HEIGHT, WIDTH, 1), np.uint8)
GREY = RGB[..., 0]
INK = RNG.integers(0, 256, (HEIGHT, WIDTH, 4), np.uint8)
GREY16 = RNG.integers(0, 65536, (HEIGHT, WIDTH)).astype(np.uint16)
RGB16 = RNG.integers(0, 65536, (HEIGHT, WIDTH, 3)).astype(np.uint16)
SHORT, LONG = 3, 4  # types of TIFF fields


def saved(pixels, format, **options) -> bytes:
  image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
  file = io.BytesIO()
  image.save(file, format, **options)
  return file.getvalue()


def saved_pages(pixels, format, **options) -> bytes:
  """Two pages or frames, the second inverted."""
  second = Image.fromarray(255 - pixels)
  return saved(pixels, format, save_all=True, append_images=[second], **options)


def chunk(kind: bytes, content: bytes) -> bytes:
  checksum = zlib.crc32(kind + content)
  return struct.pack('>I', len(content)) + kind + content + struct.pack('>I', checksum)


def png(size, rows, *, bits=8, colour=2, extra=b'') -> bytes:
  """A PNG of any header: `size` is width and height, `rows` bytes without filters."""
  content = b''.join(b'\0' + row for row in rows)
  return (
    b'\x89PNG\r\n\x1a\n'
    + chunk(b'IHDR', struct.pack('>2I5B', *size, bits, colour, 0, 0, 0))
    + extra
    + chunk(b'IDAT', zlib.compress(content))
    + chunk(b'IEND', b'')
  )


def tiff(parts, fields, *, order='<', offsets=273, counts=279) -> bytes:
  """A TIFF of uncompressed strips or tiles `parts`; `fields` {tag: (type, values)}."""
  data = b''.join(parts)
  starts = np.cumsum([8, *(len(part) for part in parts)])[:-1].tolist()
  fields = fields | {
    offsets: (LONG, starts),
    counts: (LONG, [len(part) for part in parts]),
  }
  directory, spill = struct.pack(f'{order}H', len(fields)), b''
  spill_start = 8 + len(data) + 2 + 12 * len(fields) + 4
  for tag, (kind, values) in sorted(fields.items()):
    packed = struct.pack(f'{order}{len(values)}{"HI"[kind == LONG]}', *values)
    if len(packed) > 4:
      place = struct.pack(f'{order}I', spill_start + len(spill))
      packed, spill = place, spill + packed
    directory += struct.pack(f'{order}HHI', tag, kind, len(values))
    directory += packed.ljust(4, b'\0')
  magic = b'II*\0' if order == '<' else b'MM\0*'
  end = struct.pack(f'{order}I', 0)
  return (
    magic + struct.pack(f'{order}I', 8 + len(data)) + data + directory + end + spill
  )


def tiff_fields(*, bits=(8, 8, 8), size=(WIDTH, HEIGHT), photometric=2, sample=1):
  return {
    256: (LONG, [size[0]]),
    257: (LONG, [size[1]]),
    258: (SHORT, list(bits)),
    259: (SHORT, [1]),
    262: (SHORT, [photometric]),
    277: (SHORT, [len(bits)]),
    278: (LONG, [size[1]]),
    339: (SHORT, [sample] * len(bits)),
  }


def tiled_tiff() -> bytes:
  tiles = [RGB[:, start : start + 16].tobytes() for start in range(0, WIDTH, 16)]
  fields = tiff_fields() | {322: (LONG, [16]), 323: (LONG, [16])}
  del fields[278]
  return tiff(tiles, fields, offsets=324, counts=325)


def planar_tiff() -> bytes:
  planes = [RGB[..., channel].tobytes() for channel in range(3)]
  return tiff(planes, tiff_fields() | {284: (SHORT, [2])})


def patched(content: bytes, old: bytes, new: bytes) -> bytes:
  assert content.count(old) == 1
  return content.replace(old, new)


def huge_jpeg() -> bytes:
  size = struct.pack('>HH', HEIGHT, WIDTH)
  return patched(JPEG, b'\x08' + size + b'\x03', b'\x08\xff\xff\xff\xff\x03')


def ycck_jpeg() -> bytes:
  """The same samples as `saved(INK, CMYK)`, declared to be Y, Cb, Cr and black."""
  cmyk = saved(Image.fromarray(INK, 'CMYK'), 'JPEG', quality=95, subsampling=0)
  start = cmyk.index(b'Adobe') + 11
  return cmyk[:start] + b'\x02' + cmyk[start + 1 :]


def cut(content: bytes, share: float) -> bytes:
  return content[: int(len(content) * share)]


JPEG = saved(RGB, 'JPEG', quality=95)
PROGRESSIVE = saved(RGB, 'JPEG', quality=95, progressive=True)
PNG = saved(RGB, 'PNG')
TIFF = saved(RGB, 'TIFF')
LZW = saved(RGB, 'TIFF', compression='tiff_lzw')
DEFLATE = saved(RGB, 'TIFF', compression='tiff_adobe_deflate')
WEBP = saved(RGB, 'WEBP', lossless=True)
BMP = saved(RGB, 'BMP')
JP2 = saved(RGB, 'JPEG2000')
TEXT_BOMB = chunk(b'zTXt', b'Comment\0\0' + zlib.compress(bytes(100_000_000)))

# Content -> words of the message.
REFUSED_IMAGES = {
  'nothing': (b'', 'cannot identify image file: it is empty.'),
  'text': (b'a photo of a ship', 'cannot identify image file. Replace'),
  'web page': (b'<html>404 Not Found</html>', 'cannot identify'),
  'svg': (b'<svg xmlns="http://www.w3.org/2000/svg"/>', 'cannot identify'),
  'pdf': (b'%PDF-1.7\n%%EOF', 'cannot identify'),
  'pickle': (pickle.dumps({'image': [1, 2, 3]}), 'cannot identify'),
  'zeros': (bytes(5000), 'cannot identify'),
  'GIF': (saved(RGB, 'GIF'), 'cannot identify'),
  'EPS': (saved(RGB, 'EPS'), 'cannot identify'),
  'ICO': (saved(RGB, 'ICO'), 'cannot identify'),
  'PPM': (saved(RGB, 'PPM'), 'cannot identify'),
  'TGA': (saved(RGB, 'TGA'), 'cannot identify'),
  'PSD': (b'8BPS\0\1' + bytes(6) + struct.pack('>HIIHH', 3, 8, 8, 8, 3), 'identify'),
  'JPEG of markers only': (b'\xff\xd8\xff\xd9', 'cannot identify'),
  'JPEG, first byte': (JPEG[:1], 'cannot identify'),
  'JPEG, header': (JPEG[:100], ''),
  'JPEG, half': (cut(JPEG, 0.7), 'truncated'),
  'JPEG, all but the end mark': (JPEG[:-2], 'truncated'),
  'progressive JPEG, half': (cut(PROGRESSIVE, 0.7), 'truncated'),
  'PNG, signature': (PNG[:8], ''),
  'PNG, header': (PNG[:33], ''),
  'PNG, half': (cut(PNG, 0.5), 'truncated'),
  'PNG, most': (cut(PNG, 0.95), 'truncated'),
  'PNG without pixels': (png((WIDTH, HEIGHT), []), 'truncated'),
  'TIFF, header': (TIFF[:8], ''),
  'TIFF, half': (cut(TIFF, 0.5), ''),
  'TIFF, all but a byte': (TIFF[:-1], ''),
  'LZW TIFF, half': (cut(LZW, 0.5), ''),
  'deflate TIFF, most': (cut(DEFLATE, 0.9), ''),
  'WebP, half': (cut(WEBP, 0.5), ''),
  'BMP, half': (cut(BMP, 0.5), 'truncated'),
  'JPEG 2000, half': (cut(JP2, 0.5), ''),
  'PNG bomb': (png((100_000, 100_000), []), 'tiles'),
  'PNG above the limit': (png((9_460, 9_460), []), 'tiles'),
  'JPEG bomb': (huge_jpeg(), 'tiles'),
  'TIFF bomb': (tiff([b''], tiff_fields(size=(2**31, 2**31))), ''),
  'BMP bomb': (BMP[:18] + struct.pack('<ii', 60_000, 60_000) + BMP[26:], 'tiles'),
  'PNG text bomb': (png((1, 1), [b'abc'], extra=TEXT_BOMB), 'too large'),
  'PNG of no pixels': (png((0, 0), []), ''),
  'PNG of no rows': (png((5, 0), []), ''),
  'PNG, wrong checksum': (PNG[:29] + b'\0\0\0\0' + PNG[33:], ''),
  'PNG, unknown colours': (png((1, 1), [b'abc'], colour=5), ''),
  'complex TIFF': (
    tiff([bytes(8 * GREY.size)], tiff_fields(bits=(64,), photometric=1, sample=6)),
    '',
  ),
  'LogLuv TIFF': (tiff([RGB.tobytes()], tiff_fields(photometric=32845)), ''),
  'TIFF, directory outside': (b'II*\0' + struct.pack('<I', 10**9) + bytes(50), ''),
}


def three(grey) -> np.ndarray:
  return np.repeat(np.asarray(grey, np.uint8)[..., None], 3, axis=-1)


def ink_on_paper(ink) -> np.ndarray:
  paper = 255 - ink.astype(int)
  return np.rint(paper[..., :3] * paper[..., 3:] / 255)


def luminance_as_ink(samples) -> np.ndarray:
  """ITU-T T.871 from Y, Cb, Cr to R, G, B, which Adobe's YCCK stores as inks."""
  y, cb, cr, black = np.moveaxis(samples.astype(float), -1, 0)
  red, blue = y + 1.402 * (cr - 128), y + 1.772 * (cb - 128)
  green = y - 0.344136 * (cb - 128) - 0.714136 * (cr - 128)
  colours = 255 - np.stack([red, green, blue], -1)
  return np.clip(np.rint(np.concatenate([colours, black[..., None]], -1)), 0, 255)


def stored_inks() -> np.ndarray:
  cmyk = saved(Image.fromarray(INK, 'CMYK'), 'JPEG', quality=95, subsampling=0)
  return 255 - np.asarray(Image.open(io.BytesIO(cmyk)))


PALETTE = Image.fromarray(RGB).convert('P')
COLOURS = np.asarray(PALETTE.getpalette('RGB')).reshape(-1, 3)[np.asarray(PALETTE)]

BIG = '>u2'
GREY_TIFF = {'bits': (16,), 'photometric': 1}
DECODED_JPEG = np.asarray(Image.open(io.BytesIO(JPEG)))

# Content -> pixels u8[H, W, 3].
READ_IMAGES = {
  'PNG': (PNG, RGB),
  'JPEG': (JPEG, DECODED_JPEG),
  'progressive JPEG': (PROGRESSIVE, DECODED_JPEG),
  'bytes after a JPEG': (JPEG + b'<?php exit(); ?>', DECODED_JPEG),
  'two JPEGs in one': (saved_pages(RGB, 'MPO', quality=95), DECODED_JPEG),
  'BMP': (BMP, RGB),
  'WebP': (WEBP, RGB),
  'JPEG 2000': (JP2, RGB),
  'TIFF': (TIFF, RGB),
  'LZW TIFF': (LZW, RGB),
  'deflate TIFF': (DEFLATE, RGB),
  'PackBits TIFF': (saved(RGB, 'TIFF', compression='packbits'), RGB),
  'big-endian TIFF': (tiff([RGB.tobytes()], tiff_fields(), order='>'), RGB),
  'tiled TIFF': (tiled_tiff(), RGB),
  'planar TIFF': (planar_tiff(), RGB),
  'TIFF of pages': (saved_pages(RGB, 'TIFF'), RGB),
  'animated PNG': (saved_pages(RGB, 'PNG'), RGB),
  'animated WebP': (saved_pages(RGB, 'WEBP', lossless=True), RGB),
  'PNG without its end': (PNG[:-12], RGB),
  'grey': (saved(GREY, 'PNG'), three(GREY)),
  '1 bit': (saved(GREY > 127, 'PNG'), three((GREY > 127) * 255)),
  'palette': (saved(PALETTE, 'PNG'), COLOURS),
  'transparent palette': (saved(PALETTE, 'PNG', transparency=bytes(256)), COLOURS),
  'transparent colour': (saved(RGB, 'PNG', transparency=(0, 0, 0)), RGB),
  'grey and alpha': (
    saved(np.concatenate([GREY[..., None], ALPHA], -1), 'PNG'),
    three(GREY),
  ),
  'alpha': (saved(np.concatenate([RGB, ALPHA], -1), 'PNG'), RGB),
  'invisible': (saved(np.concatenate([RGB, ALPHA * 0], -1), 'PNG'), RGB),
  '16-bit grey PNG': (saved(GREY16, 'PNG'), three(np.rint(GREY16 / 257))),
  '16-bit grey TIFF': (
    tiff([GREY16.tobytes()], tiff_fields(**GREY_TIFF)),
    three(np.rint(GREY16 / 257)),
  ),
  'big-endian 16-bit grey TIFF': (
    tiff([GREY16.astype(BIG).tobytes()], tiff_fields(**GREY_TIFF), order='>'),
    three(np.rint(GREY16 / 257)),
  ),
  'one pixel': (saved(RGB[:1, :1], 'PNG'), RGB[:1, :1]),
  'thin': (saved(np.resize(RGB, (5000, 1, 3)), 'PNG'), np.resize(RGB, (5000, 1, 3))),
  'flat': (saved(np.resize(RGB, (1, 5000, 3)), 'TIFF'), np.resize(RGB, (1, 5000, 3))),
  # The stated limit: whole to every codec, though rows are missing.
  'PNG closed early': (
    png((WIDTH, HEIGHT), [row.tobytes() for row in RGB[:8]]),
    np.concatenate([RGB[:8], RGB[8:] * 0]),
  ),
}

# What Pillow misreads or cannot read: refused, with the cure, where there is no GDAL.
DEEP_IMAGES = {
  '16-bit RGB PNG': (
    png((WIDTH, HEIGHT), [row.astype(BIG).tobytes() for row in RGB16], bits=16),
    np.rint(RGB16 / 257),
  ),
  '16-bit RGB TIFF': (
    tiff([RGB16.tobytes()], tiff_fields(bits=(16, 16, 16))),
    np.rint(RGB16 / 257),
  ),
  'planar 16-bit RGB TIFF': (
    tiff(
      [RGB16[..., channel].tobytes() for channel in range(3)],
      tiff_fields(bits=(16, 16, 16)) | {284: (SHORT, [2])},
    ),
    np.rint(RGB16 / 257),
  ),
  'TIFF of five bands': (
    tiff(
      [np.concatenate([RGB, RGB[..., :2]], -1).tobytes()], tiff_fields(bits=(8,) * 5)
    ),
    RGB,
  ),
}

# As above, but each decoder may round in its own way.
NEARLY_READ_IMAGES = {
  'CMYK TIFF': (saved(Image.fromarray(INK, 'CMYK'), 'TIFF'), ink_on_paper(INK)),
  'CMYK JPEG': (
    saved(Image.fromarray(INK, 'CMYK'), 'JPEG', quality=95, subsampling=0),
    ink_on_paper(255 - stored_inks()),
  ),
  'YCCK JPEG': (ycck_jpeg(), ink_on_paper(255 - luminance_as_ink(stored_inks()))),
}


@pytest.mark.parametrize('name', REFUSED_IMAGES)
@pytest.mark.filterwarnings('ignore::Warning:PIL')
def test_image_is_refused(tmp_path, name):
  content, words = REFUSED_IMAGES[name]
  path = tmp_path / 'a.png'
  path.write_bytes(content)
  with pytest.raises(UserError, match=r'a\.png: expected a readable image') as caught:
    read_image(path)
  assert words in str(caught.value)


@pytest.mark.parametrize('name', READ_IMAGES)
@pytest.mark.parametrize('ending', ['png', 'jpg'])
def test_image_is_read_whatever_its_ending(tmp_path, name, ending):
  content, expected = READ_IMAGES[name]
  path = tmp_path / f'a.{ending}'
  path.write_bytes(content)
  image = read_image(path, how=How(stretch='none'))
  assert image.mode == 'RGB'
  np.testing.assert_array_equal(image, expected)


@pytest.mark.parametrize('name', DEEP_IMAGES)
@pytest.mark.parametrize('with_gdal', [True, False])
def test_what_pillow_misreads_is_read_by_gdal_or_refused(name, with_gdal, monkeypatch):
  content, expected = DEEP_IMAGES[name]
  if with_gdal:
    pytest.importorskip('rasterio')
    how = How(stretch='none')
    image = decode_image(io.BytesIO(content), name='a', how=how)
    np.testing.assert_array_equal(image, expected)
    return
  monkeypatch.setattr(scene, 'has_gdal', lambda: False)
  with pytest.raises(UserError, match=r"pip install 'harma_jax\[geo\]'"):
    decode_image(io.BytesIO(content), name='a')


@pytest.mark.parametrize('name', NEARLY_READ_IMAGES)
def test_inks_become_rgb(name):
  content, expected = NEARLY_READ_IMAGES[name]
  actual = np.asarray(decode_image(io.BytesIO(content), name=name))
  np.testing.assert_allclose(actual.astype(int), expected, atol=2)


def test_folder_in_place_of_an_image_is_refused(tmp_path):
  (tmp_path / 'a.png').mkdir()
  with pytest.raises(UserError, match=r'a\.png: expected a readable image'):
    read_image(tmp_path / 'a.png')


@pytest.mark.skipif(os.geteuid() == 0, reason='root may read every file')
def test_image_without_permission_is_refused(tmp_path):
  path = tmp_path / 'a.png'
  path.write_bytes(PNG)
  path.chmod(0)
  with pytest.raises(UserError, match='Permission denied'):
    read_image(path)


SMALL = RGB[:8, :8]
SMALL_FILES = [
  saved(SMALL, format) for format in ('PNG', 'JPEG', 'TIFF', 'BMP', 'WEBP')
]


@settings(max_examples=400, deadline=None, derandomize=True, database=None)
@given(data=st.data())
@pytest.mark.filterwarnings('ignore::Warning:PIL')
def test_a_damaged_image_has_its_declared_size_or_is_refused(damaged, data):
  content = data.draw(damaged(SMALL_FILES))
  try:
    image = decode_image(io.BytesIO(content), name='a', max_pixels=100_000)
  except UserError:
    return
  unknown = contextlib.suppress(UnidentifiedImageError)  # GDAL reads more
  with unknown, Image.open(io.BytesIO(content)) as header:
    assert image.size in (header.size, header.size[::-1])  # turned by EXIF
  assert np.asarray(image).shape == (*image.size[::-1], 3)


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(st.sampled_from(SMALL_FILES), st.data())
@pytest.mark.filterwarnings('ignore::Warning:PIL')
def test_a_file_cut_off_is_whole_or_refused(content, data):
  length = data.draw(st.integers(0, len(content) - 1))
  whole = decode_image(io.BytesIO(content), name='a')
  try:
    image = decode_image(io.BytesIO(content[:length]), name='a')
  except UserError:
    return
  np.testing.assert_array_equal(image, whole)
