"""What a compiled program tells, and what a refused one does."""

import json

import pytest

from harma_jax.rehearsal.refusal import Refusal

V5E = int(15.75 * 2**30)


def test_a_program_with_less_memory_than_the_device_fits(record):
  found = record()
  assert (found['fits'], found['refused']) == (True, False)
  assert found['available_bytes'] == V5E
  assert found['needed_bytes'] == 2**30 + 2**20
  memory = found['memory']
  assert memory['weights'] == 2**19
  assert memory['temporaries'] == 2**30
  kinds = ('weights', 'optimizer', 'images', 'kept_for_backward', 'rest')
  assert sum(memory[kind] for kind in kinds) == found['needed_bytes']
  assert 0 < memory['kept_for_backward'] < 2**20
  assert json.loads(json.dumps(found)) == found


def test_where_the_compiler_tells_what_is_in_use_the_rest_are_gaps(record):
  memory = record(peak=2**29)['memory']
  assert memory['gaps'] == 2**30 + 2**20 - 2**29
  kinds = ('weights', 'optimizer', 'images', 'kept_for_backward', 'rest')
  assert sum(memory[kind] for kind in kinds) == 2**29
  assert record()['memory']['gaps'] is None


def test_time_and_share_of_the_peak_are_of_all_devices(record):
  found = record()
  assert found['estimated_seconds'] == pytest.approx(sum(found['parts'].values()))
  peak = 4 * 197e12
  share = 428 * 32e9 / found['estimated_seconds'] / peak
  assert found['share_of_peak'] == pytest.approx(share)
  assert [kernel['flop'] for kernel in found['kernels']] == [1_970_000_000, None]


def test_a_program_that_compiles_may_not_fit_all_the_same(record):
  found = record(topology='l4-24:4', compiler='plugin 1', temporaries=20 * 2**30)
  assert (found['fits'], found['refused']) == (False, False)
  assert found['estimated_seconds'] is found['parts'] is None


def test_what_a_tpu_compiler_takes_fits_however_tightly(record):
  found = record(temporaries=V5E)
  assert (found['fits'], found['needed_bytes'] > V5E) == (True, True)


def test_a_refused_program_has_the_numbers_of_the_compiler(record):
  found = record(refusal=Refusal(needed=40 * 2**30, available=15 * 2**30))
  assert (found['fits'], found['refused']) == (False, True)
  assert (found['needed_bytes'], found['available_bytes']) == (40 * 2**30, 15 * 2**30)
  assert found['memory'] == {'weights': 2**19, 'optimizer': 2**10, 'images': 2**15}
  assert found['estimated_seconds'] is found['collectives'] is None


def test_a_refusal_without_numbers_is_against_what_the_kind_has(record):
  found = record(refusal=Refusal(needed=None, available=None))
  assert (found['needed_bytes'], found['available_bytes']) == (None, V5E)


def test_the_program_of_cpus_tells_neither_whether_it_fits_nor_a_time(record):
  found = record(compiler=None)
  assert found['fits'] is found['available_bytes'] is found['estimated_seconds'] is None
  assert found['collectives']['all-reduce']['count'] == 1
