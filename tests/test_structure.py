"""Where files lie, and which way imports point."""

import pytest

from benchmarks import structure

TREES = structure.trees_of(structure.PACKAGE)
ROOMS = {file: structure.room_of(file, package=structure.PACKAGE) for file in TREES}
ARROWS = structure.arrows_of(TREES, rooms=ROOMS, package=structure.PACKAGE)
TOP = {file.stem for file in structure.PACKAGE.glob('*.py')}
SHARED = {'api', 'errors', '__init__', '__main__'}
DOORS = TOP - SHARED
# What must be usable, and tested, without a run, a disk or a device.
PURE = ('model', 'objective', 'augment')
OUT_OF_REACH = ('training', 'building', 'rundir', 'devices')


def is_folder(room):
  return room not in TOP and not room.endswith('__main__')


def test_the_top_holds_doors_and_what_they_share():
  assert len(TOP) <= 14
  lines = {
    door: len((structure.PACKAGE / f'{door}.py').read_text().splitlines())
    for door in DOORS
  }
  assert {door: n for door, n in lines.items() if n > 120} == {}


def test_nothing_in_a_folder_imports_a_door():
  doors = DOORS | {'api', '__main__'} | {r for r in ROOMS.values() if '__main__' in r}
  assert {(a, b) for a, b in ARROWS if is_folder(a) and b in doors} == set()


@pytest.mark.parametrize('room', PURE)
def test_pure_functions_reach_no_run_and_no_device(room):
  assert structure.reached(ARROWS, room) & set(OUT_OF_REACH) == set()


def test_no_arrow_leads_up():
  assert structure.arrows_up(ARROWS) == []


@pytest.fixture
def package(tmp_path):
  """A package of two rooms that need each other, a door and a folder that uses it."""
  files = {
    '__init__.py': '',
    'door.py': 'from toy.data.read import read\n',
    'data/read.py': 'from toy.model import tower\n',
    'data/late.py': 'def late():\n  import toy.door\n',
    'model/tower.py': '"""One."""\nfrom toy.data import read\n\ndef f():\n  return 1\n',
  }
  for name, text in files.items():
    path = tmp_path / 'toy' / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
  return tmp_path / 'toy'


def test_what_is_counted(package):
  found = structure.measure(package)
  assert found['files at the top'] == 2
  assert found['folders'] == 2
  assert found['arrows'] == 4
  assert found['arrows up'] == [
    'data -> door',
    'data -> model',
    'door -> data',
    'model -> data',
  ]
  assert (found['longest function'], found['longest function, lines']) == (
    'data/late.py:late',
    2,
  )
  assert (found['largest file'], found['largest file, lines']) == ('model/tower.py', 5)


def test_floors_are_the_longest_way_down(package):
  (package / 'model/tower.py').write_text('def f():\n  return 1\n')
  (package / 'data/late.py').unlink()
  found = structure.measure(package)
  assert (found['arrows up'], found['floors'], found['arrows']) == ([], 3, 2)
