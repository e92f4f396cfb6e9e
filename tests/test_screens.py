"""The screens that pages show are printed, line by line, with other numbers in them."""

import dataclasses
import pathlib
import textwrap

import numpy as np
import pytest

import harma_jax
from harma_jax.devices.absent import DISTRIBUTIONS
from harma_jax.devices.targets import read_topology
from harma_jax.errors import UserError
from harma_jax.raster.how import DEFAULT
from harma_jax.rehearsal import run
from harma_jax.rehearsal.collectives import KINDS
from harma_jax.rehearsal.parts import PARTS
from harma_jax.rehearsal.refusal import Refusal
from harma_jax.search_index.tables import print_made
from harma_jax.training.dry_run import dry_run
from tests.documented import REPOSITORY, Documented, documented, screen_lines
from tests.rehearsal.conftest import compiled, no_compilers, record

__all__ = ['compiled', 'no_compilers', 'record']  # fixtures


def lines_of(page):
  lines = documented(REPOSITORY / 'docs' / page)
  assert len(lines) >= 8
  return lines


def not_printed(lines, printed, *, part='\n'):
  """The documented lines that are not among those of a screen.

  Of what a step happens to have each may stand in another line: lines are compared in
  parts, which `part` stands between.
  """
  said = {
    (words, *label)
    for line, *label in screen_lines(textwrap.indent(printed, ' ' * 4))
    for words in line.split(part)
  }
  return [
    (line.label, words)
    for line in lines
    for words in line.text.split(part)
    if not any(
      label == [line.label] * bool(line.label)
      and Documented(line.page, words).is_said_by(printed)
      for printed, *label in said
    )
  ]


def test_a_dry_run(small_config, tmp_path, capsys):
  config = small_config({'data.test_split': '', 'data.cache': 'stream'})
  dry_run(config, workdir=tmp_path / 'run')
  printed = capsys.readouterr().out
  assert not_printed(lines_of('launching.md'), printed) == [], printed


@pytest.fixture
def archive(tmp_path, monkeypatch):
  """A folder with scenes of 16 bits, also without a place, and one that is cut."""
  rasterio = pytest.importorskip('rasterio')
  monkeypatch.chdir(tmp_path)
  rng, to = np.random.default_rng(0), rasterio.Affine(10, 0, 5e5, 0, -10, 0)
  profile = {'driver': 'GTiff', 'dtype': 'uint16', 'crs': 'EPSG:32631', 'nodata': 0}
  profile |= {'width': 48, 'height': 48, 'count': 3}
  names = ('2024/a.tif', 'u16/scene.tif', 'utm/a.tif', 'utm/b.tif', 'new/half.tif')
  for number, name in enumerate(names, 1):
    path = tmp_path / 'archive' / name
    path.parent.mkdir(parents=True, exist_ok=True)
    place = {} if name.startswith('utm') else {'transform': to}
    pixels = rng.integers(300 * number, 3000, (3, 48, 48)).astype(np.uint16)
    pixels[:, :24, :24] = 0
    with rasterio.open(path, 'w', **profile, **place) as file:
      file.write(pixels)
  path.write_bytes(path.read_bytes()[:300])
  return path.parent.parent.relative_to(tmp_path)


@pytest.mark.filterwarnings('ignore:Truncated File Read')
@pytest.mark.filterwarnings('ignore:Dataset has no geotransform')
def test_an_index(finished_run, archive, capsys, caplog):
  caplog.set_level('INFO', logger='absl')
  model = harma_jax.load(str(finished_run))
  how = DEFAULT._replace(bands='3,2,1')
  made = model.make_index(archive, 'index', tile=16, how=how, threads=1)
  capsys.readouterr()
  print_made('index', made)
  logged = [log.getMessage() for log in caplog.records if log.module == 'reader']
  printed = '\n'.join([*logged, capsys.readouterr().out])
  assert not_printed(lines_of('archive.md'), printed) == [], printed


# By kind, as a step has them that runs each once, and one that runs them in a loop.
ONCE = {kind: {'count': 2, 'runs': 2, 'bytes': 2**10} for kind in KINDS}
OFTEN = {kind: {'count': 2, 'runs': 9, 'bytes': 2**10} for kind in KINDS}
LIBTPU, PLUGIN = (f'{name} 1.2' for name in list(DISTRIBUTIONS.values())[:2])


@pytest.fixture
def rehearse(small_config, record, monkeypatch):
  """`rehearse('v5e:2x4', compiler=, exchanges=)`: prints of a step what `record` has.

  It has all parts, and `exchanges`; CPUs are there in the place of the devices.
  """
  read_stage = run.read_stage

  def rehearse(topology, *, compiler, exchanges, **settings):
    found = record(topology=topology, compiler=compiler, **settings)
    found['parts'] = found['parts'] and dict.fromkeys(PARTS, 0.001)
    found['kernels'] = [each for each in found['kernels'] or [] if each['flop']]
    found['collectives'] = found['collectives'] and exchanges
    fits = record(topology=topology, compiler=compiler)
    monkeypatch.setattr(
      run,
      'read_stage',
      lambda *of: dataclasses.replace(read_stage(*of), compiler=compiler),
    )
    monkeypatch.setattr(run, 'rehearse', lambda *_, **__: found)
    monkeypatch.setattr(run, '_compile_again', lambda *_, **__: fits)
    run.dry_run_topology(
      small_config({'data.root': '', 'data.cache': 'host', 'model.remat': 'none'}),
      workdir=pathlib.Path('workdir/rsitmd-clip'),
      topology=read_topology(topology),
      quick=True,
    )

  return rehearse


@pytest.mark.usefixtures('no_compilers')
def test_steps_on_devices_that_are_not_there(rehearse, capsys):
  rehearse('v5e:2x4', compiler=LIBTPU, exchanges=ONCE, peak=2**29)
  rehearse('v5p:2x2x1', compiler=LIBTPU, exchanges=OFTEN, peak=2**29)
  rehearse('h100:8', compiler=PLUGIN, exchanges=ONCE, peak=2**29)
  rehearse('v5e:1x1', compiler=LIBTPU, exchanges={}, peak=2**29)
  refusal = Refusal(needed=20 * 2**30, available=15 * 2**30)
  with pytest.raises(UserError) as error:
    rehearse('v5e:1x1', compiler=LIBTPU, exchanges={}, refusal=refusal)
  printed = f'{capsys.readouterr().out}\nerror: {error.value}'
  lines = lines_of('throughput.md')
  assert not_printed(lines, printed, part=', ') == [], printed
