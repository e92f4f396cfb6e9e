#!/usr/bin/env bash
# A file says of its bands "blue, green, red", and GDAL says that they are red, green and blue.
#
# Three bands of 8 bits, written with descriptions and without any word on photometry: one would guess
# that their colour interpretation is unknown or grey, and that only the descriptions tell. GDAL's
# GeoTIFF writer takes exactly three (or four) bands of 8 bits for RGB (and alpha) and stores that;
# the same values in 16 bits stay grey, undefined, undefined. So a reader that trusts colour
# interpretation first is right for the deep product and swaps red and blue in the quick-look of the
# same scene.
#
# It matters to whoever shows or trains on products cut to 8 bits in their own band order: the
# descriptions must win where they name all three colours.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet rasterio==1.4.4 numpy==2.4.6
cat > "$folder/run.py" <<'PY'
import sys
import warnings

import numpy as np
import rasterio

warnings.simplefilter('ignore', rasterio.errors.NotGeoreferencedWarning)
print('rasterio', rasterio.__version__, 'GDAL', rasterio.__gdal_version__)
found = {}
for dtype in ('uint8', 'uint16'):
  path = f'{sys.argv[1]}/{dtype}.tif'
  shape = {'width': 8, 'height': 8, 'count': 3, 'dtype': dtype}
  with rasterio.open(path, 'w', driver='GTiff', **shape) as scene:
    for band, name in enumerate(('blue', 'green', 'red'), start=1):
      scene.set_band_description(band, name)
    scene.write(np.ones((3, 8, 8), dtype))
  with rasterio.open(path) as scene:
    found[dtype] = [color.name for color in scene.colorinterp]
    print(dtype, 'descriptions', scene.descriptions, 'interpretation', found[dtype])
    assert scene.descriptions == ('blue', 'green', 'red')
assert found['uint8'] == ['red', 'green', 'blue']
assert found['uint16'] == ['gray', 'undefined', 'undefined']
PY
"$folder/env/bin/python" "$folder/run.py" "$folder"
