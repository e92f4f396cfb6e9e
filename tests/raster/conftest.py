"""Files that GDAL writes, of all kinds."""

import numpy as np
import pytest


@pytest.fixture
def write_scene(tmp_path):
  """`write_scene(values[bands, H, W], ...)`: the path of a file that GDAL wrote."""
  rasterio = pytest.importorskip('rasterio')
  shutil = pytest.importorskip('rasterio.shutil')
  counter = iter(range(1000))

  def make(
    values,
    *,
    colors=(),
    descriptions=(),
    colormap=None,
    mask=None,
    driver='GTiff',
    name='',
    **profile,
  ):
    suffix = {'JP2OpenJPEG': 'jp2', 'PNG': 'png'}.get(driver, 'tif')
    path = tmp_path / (name or f'{next(counter)}.{suffix}')
    count, height, width = values.shape
    shape = {'count': count, 'height': height, 'width': width, 'dtype': values.dtype}
    settings = rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True)
    with settings, rasterio.MemoryFile() as memory:
      whole = driver in ('JP2OpenJPEG', 'PNG', 'COG')
      plain = {} if whole else profile
      with memory.open(driver='GTiff', **shape, **plain) as scene:
        if colors:
          scene.colorinterp = [rasterio.enums.ColorInterp[name] for name in colors]
        for band, text in enumerate(descriptions, 1):
          scene.set_band_description(band, text)
        scene.write(values)
        if colormap:
          scene.write_colormap(1, colormap)
        if mask is not None:
          scene.write_mask(mask)
      if whole:
        with memory.open() as scene:
          shutil.copy(scene, path, driver=driver, **profile)
      else:
        path.write_bytes(memory.read())
    return path

  return make


@pytest.fixture
def values():
  """`values(bands, dtype, high)`: [bands, 25, 40], smooth with some noise."""

  def make(bands=3, dtype=np.uint8, *, low=1, high=255):
    rng = np.random.default_rng(bands)
    y, x = np.mgrid[:25, :40] / 40
    parts = [np.sin(3 * x + i) + np.cos(4 * y * (i + 1)) for i in range(bands)]
    smooth = (np.stack(parts) + 2) / 4 + rng.uniform(-0.05, 0.05, (bands, 25, 40))
    return (low + np.clip(smooth, 0, 1) * (high - low)).astype(dtype)

  return make
