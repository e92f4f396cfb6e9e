#!/usr/bin/env bash
# Pillow opens a 16-bit colour TIFF whose bands lie one after another, and gives noise.
#
# Pixel by pixel, the usual order, the same values open as RGB and every one is the high byte of what
# was written (Pillow has no mode for 16 bits a colour). One would guess that in planes they are read
# alike, or refused. But the planar file opens as RGB as well, loads without an error or a warning, and
# almost no value is right. The same happens one band down: a grey of 16 bits that is stored "min is white"
# opens as I;16 with its values as stored, a negative, while of 8 bits Pillow turns it around.
#
# It matters in remote sensing, where GDAL writes planes by default for many drivers' copies: a data
# set is read without a complaint and trains a model on noise.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet rasterio==1.4.4 numpy==2.4.6 pillow==13.0.0
cat > "$folder/run.py" <<'PY'
import sys
import warnings

import numpy as np
import PIL
import rasterio
from PIL import Image

warnings.simplefilter('ignore', rasterio.errors.NotGeoreferencedWarning)
print('Pillow', PIL.__version__)
values = np.random.default_rng(0).integers(0, 65536, (3, 64, 48)).astype('uint16')


def write(name, bands, **options):
  path = f'{sys.argv[1]}/{name}.tif'
  count, height, width = bands.shape
  shape = {'count': count, 'height': height, 'width': width, 'dtype': bands.dtype}
  with rasterio.open(path, 'w', driver='GTiff', **shape, **options) as scene:
    scene.write(bands)
  return path


planes = Image.open(write('planes', values, photometric='RGB', interleave='band'))
high = np.moveaxis(values >> 8, 0, -1)
share = (np.asarray(planes) == high).mean()
print(f'planes: mode {planes.mode}, {100 * share:.1f} % of the values are right')
assert planes.mode == 'RGB' and share < 0.05
pixels = Image.open(write('pixels', values, photometric='RGB', interleave='pixel'))
share = (np.asarray(pixels) == high).mean()
print(f'pixel by pixel: mode {pixels.mode}, {100 * share:.1f} % of the values are right')
assert pixels.mode == 'RGB' and share == 1
small = (values[:1] >> 8).astype('uint8')
turned = Image.open(write('grey8', small, photometric='MINISWHITE'))
kept = Image.open(write('grey16', values[:1], photometric='MINISWHITE'))
print('min is white: 8 bits', turned.mode, '16 bits', kept.mode)
assert (np.asarray(turned) == 255 - small[0]).all()
assert (np.asarray(kept) == values[0]).all()
PY
"$folder/env/bin/python" "$folder/run.py" "$folder"
