"""Counts what makes a package easy or hard to read: doors, rooms, floors, sizes.

  python -m benchmarks.structure [PACKAGE_FOLDER] [--json]

A room is a file at the top of the package, a `__main__` or a folder; an arrow leads
from a room to another that one of its files imports, be it inside a function. Floors
are the longest way down along arrows. An arrow leads up where the way back is there
too: two rooms that need each other. The arrow from the package's `__init__` is lazy and
not counted, nor are the configs.
"""

import argparse
import ast
import functools
import json
import pathlib
import statistics
from collections.abc import Iterator, Mapping

PACKAGE = pathlib.Path(__file__).parent.parent / 'harma_jax'
TOP = '__init__'


def measure(package: pathlib.Path) -> dict[str, int | float | str | list]:
  """What there is to say of a package, by what it is called."""
  trees = trees_of(package)
  files = list(trees)
  rooms = {file: room_of(file, package=package) for file in files}
  arrows = arrows_of(trees, rooms=rooms, package=package)
  lengths = {
    f'{file.relative_to(package)}:{node.name}': node.end_lineno - node.lineno + 1
    for file, tree in trees.items()
    for node in ast.walk(tree)
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
  }
  lines = {file: len(file.read_text().splitlines()) for file in files}
  longest = max(lengths, key=lengths.get)
  largest = max(lines, key=lines.get)
  return {
    'files at the top': len(list(package.glob('*.py'))),
    'folders': len({file.parent for file in files} - {package}),
    'rooms': len(set(rooms.values())),
    'floors': floors(arrows),
    'arrows': len(arrows),
    'arrows up': arrows_up(arrows),
    'median function, lines': statistics.median(lengths.values()),
    'longest function, lines': lengths[longest],
    'longest function': longest,
    'largest file, lines': lines[largest],
    'largest file': str(largest.relative_to(package)),
    'lines': sum(lines.values()),
  }


def trees_of(package: pathlib.Path) -> dict[pathlib.Path, ast.Module]:
  """The syntax tree of each file of a package; links to other folders are left out."""
  return {
    file: ast.parse(file.read_text())
    for file in sorted(package.rglob('*.py'))
    if not any(folder.is_symlink() for folder in file.parents)
  }


def room_of(file: pathlib.Path, *, package: pathlib.Path) -> str:
  """The folder of a file; the file where it stands at the top or is a `__main__`."""
  parts = file.relative_to(package).with_suffix('').parts
  alone = len(parts) == 1 or parts[-1] == '__main__'
  return '/'.join(parts if alone else parts[:-1])


def arrows_of(
  trees: Mapping[pathlib.Path, ast.Module],
  *,
  rooms: Mapping[pathlib.Path, str],
  package: pathlib.Path,
) -> set[tuple[str, str]]:
  """Pairs of different rooms of which the first imports the second."""
  return {
    (rooms[file], rooms[target])
    for file, tree in trees.items()
    for name in imported(tree)
    if (target := file_of(name, package=package)) in rooms
    if rooms[file] not in (rooms[target], TOP)
  }


def imported(tree: ast.Module) -> Iterator[str]:
  """Dotted names that a module imports; of `from a import b` both `a.b` and `a`."""
  for node in ast.walk(tree):
    if isinstance(node, ast.Import):
      yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
      yield from (f'{node.module}.{alias.name}' for alias in node.names)


def file_of(name: str, *, package: pathlib.Path) -> pathlib.Path | None:
  """The file that a dotted name, or the module before its last dot, stands for."""
  root, *parts = name.split('.')
  if root != package.name:
    return None
  for path in (package.joinpath(*parts), package.joinpath(*parts[:-1])):
    for file in (path.with_suffix('.py'), path / '__init__.py'):
      if file.is_file() and file.parent != package.parent:
        return file
  return None


def arrows_up(arrows: set[tuple[str, str]]) -> list[str]:
  """Arrows from where a way leads back, in words."""
  return sorted(f'{a} -> {b}' for a, b in arrows if a in reached(arrows, b))


def reached(arrows: set[tuple[str, str]], start: str) -> set[str]:
  """The rooms that lie somewhere behind a room."""
  found, ahead = set(), [start]
  while ahead:
    room = ahead.pop()
    for first, second in arrows:
      if first == room and second not in found:
        found.add(second)
        ahead.append(second)
  return found


def floors(arrows: set[tuple[str, str]]) -> int:
  """Rooms on the longest way down; those that need each other share a floor."""
  behind = {room: reached(arrows, room) for pair in arrows for room in pair}

  @functools.cache
  def height(room: str) -> int:
    below = {r for r in behind[room] if room not in behind[r]}
    return 1 + max(map(height, below), default=0)

  return max(map(height, behind), default=1)


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
  parser.add_argument('package', nargs='?', type=pathlib.Path, default=PACKAGE)
  parser.add_argument('--json', action='store_true')
  given = parser.parse_args()
  found = measure(given.package.resolve())
  if given.json:
    print(json.dumps(found, indent=2))
    return
  for name, value in found.items():
    words = f'{len(value)} {", ".join(value)}' if isinstance(value, list) else value
    print(f'{name:26}{words}')


if __name__ == '__main__':
  main()
