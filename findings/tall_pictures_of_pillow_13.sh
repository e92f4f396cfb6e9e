#!/usr/bin/env bash
# Pillow 13 makes other pixels than Pillow 12 of pictures that are much taller than wide.
#
# Resizing in two passes, one for each axis, was always done along the rows first, and one would guess that
# the bits of `Image.resize` depend on the filter alone: data sets, features and golden files are compared
# across versions. Pillow 13 begins with the other axis where that is less work. Between the passes values
# are rounded to 8 bits, so the order shows: of a strip of 3,000 by 300 pixels a fifth of the values differ,
# by up to 2; of the same strip lying on its side, and of a square, none does.
#
# It matters where strips are common, as in swaths of satellites and scans of aerial films: features made
# with one version are not those of another, and only tall pictures show it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/run.py" <<'PY'
import sys

import numpy as np
import PIL
from PIL import Image

print('Pillow', PIL.__version__)
rng = np.random.default_rng(0)
for name, shape in (('tall', (3000, 300)), ('wide', (300, 3000)), ('square', (800, 800))):
  picture = Image.fromarray(rng.integers(0, 256, (*shape, 3), dtype=np.uint8))
  np.save(f'{sys.argv[1]}/{name}', picture.resize((224, 224), Image.BICUBIC))
PY
cat > "$folder/compare.py" <<'PY'
import sys

import numpy as np

found = {}
for name in ('tall', 'wide', 'square'):
  old, new = (np.load(f'{folder}/{name}.npy').astype(int) for folder in sys.argv[1:])
  found[name] = (old != new).mean(), abs(old - new).max()
  print(f'{name}: {100 * found[name][0]:.1f} % of the values differ, by up to {found[name][1]}')
assert 0.1 < found['tall'][0] < 0.3
assert found['tall'][1] == 2
assert found['wide'] == found['square'] == (0, 0)
PY
for version in 12.3.0 13.0.0; do
  python3 -m venv "$folder/$version"
  "$folder/$version/bin/pip" install --quiet "pillow==$version" numpy==2.4.6
  "$folder/$version/bin/python" "$folder/run.py" "$folder/$version"
done
"$folder/13.0.0/bin/python" "$folder/compare.py" "$folder/12.3.0" "$folder/13.0.0"
