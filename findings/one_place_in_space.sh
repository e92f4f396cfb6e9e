#!/usr/bin/env bash
# One place that is not on the earth takes the places of all others with it.
#
# A weather satellite's picture has corners in space. One would guess that a transformation of a
# list of places gives `inf` for those, as PROJ itself and pyproj do, and the rest as it is. Through
# rasterio.warp.transform the whole call raises, and not a RasterioError but an error class of a
# private module: code that catches RasterioError around it does not catch it. With every place on
# the earth the same call is right.
#
# And the way back is silent: metres of height above sea level (EPSG:5703, a system without any
# place) "become" degrees, the numbers exchanged and otherwise as they were, without an error.
#
# It matters to whoever draws outlines of scenes: one odd file ends an index of thousands, and another
# one lands at longitude six million.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet rasterio==1.4.4 numpy==2.4.6
cat > "$folder/run.py" <<'PY'
import rasterio
from rasterio import warp

print('rasterio', rasterio.__version__, 'GDAL', rasterio.__gdal_version__)
full_disk = '+proj=geos +h=35785831 +lon_0=0 +datum=WGS84'
good = warp.transform(full_disk, 'EPSG:4326', [0.0], [1.0e6])
print('on the earth:', [round(value[0], 3) for value in good])
try:
  print(warp.transform(full_disk, 'EPSG:4326', [0.0, 5.5e6], [1.0e6, 5.5e6]))
  raise SystemExit('the second place has become something')
except Exception as error:
  kind = type(error)
  print('one of two in space:', f'{kind.__module__}.{kind.__name__}:', error)
  assert not isinstance(error, rasterio.errors.RasterioError)
  assert '._' in kind.__module__
x, y = warp.transform('EPSG:5703', 'EPSG:4326', [1.0e6], [6.0e6])
print('heights as degrees:', x, y)
assert (x, y) == ([6.0e6], [1.0e6])
PY
"$folder/env/bin/python" "$folder/run.py" 2> "$folder/log" || { cat "$folder/log" >&2; exit 1; }
