"""Killed at random moments, an index stays whole: a short campaign of the benchmark."""

from benchmarks import index_faults


def test_ten_random_kills_leave_a_whole_index(tmp_path):
  report = index_faults.campaign(tmp_path, kills=10, seed=3)
  assert report['problems'] == []
  assert report['kills'] == 10


def test_the_campaign_tells_an_index_that_is_not_whole(tmp_path):
  folder, rng = tmp_path / 'pictures', index_faults.np.random.default_rng(0)
  archive = index_faults.Archive(folder, rng=rng)
  archive.change()
  index_faults.make(folder, tmp_path / 'index')
  assert archive.problem(tmp_path / 'index', is_done=True) == ''
  stray = tmp_path / 'index/shards/.half'
  stray.touch()
  assert 'stray' in archive.problem(tmp_path / 'index', is_done=True)
  stray.unlink()
  name = sorted(archive.colors)[0]
  archive.colors[name] = tuple(255 - value for value in archive.colors[name])
  problem = archive.problem(tmp_path / 'index', is_done=True)
  assert problem == f'{name}: the features of another picture'
