"""A record in words: both numbers, the parts, and whose program it is."""

import pytest

from harma_jax.devices.targets import read_topology
from harma_jax.rehearsal.refusal import Refusal
from harma_jax.rehearsal.words import gibibytes, program_in_words, summary


@pytest.mark.parametrize(
  ('count', 'words'),
  [(512, '0.5 KiB'), (20 * 2**20, '20.0 MiB'), (int(15.75 * 2**30), '15.75 GiB')],
)
def test_bytes_have_the_unit_that_fits(count, words):
  assert gibibytes(count) == words


def words_of(record, topology='v5e:2x2'):
  return program_in_words(record, topology=read_topology(topology))


def test_a_program_that_fits_is_told_in_full(record):
  words = words_of(record())
  assert words['fits'] == 'yes: 1.00 GiB for a device that has 15.75 GiB (v5e)'
  assert words['memory of a device'].startswith('1.00 GiB: weights 512.0 KiB, opt')
  assert 'kept for the backward pass (estimated)' in words['memory of a device']
  assert words['FLOP a pair'] == '32.0 GFLOP, nothing recomputed'
  assert 'by the estimate of the compiler' in words['a step']
  assert '% of the peak of 197 TFLOP/s' in words['a step']
  assert words['its parts'].startswith('image tower, forward 0.0 ms, ')
  assert words['Pallas kernels'].startswith('2, run 2 times: 0.0 ms of the above')
  assert '1 tell no FLOP' in words['Pallas kernels']
  assert words['collectives'] == (
    '1 all-gather (0.5 KiB), 1 all-reduce (0.1 KiB), 1 reduce-scatter (0.1 KiB)'
  )
  assert words['lowering'] == '1.0 s, for tpu'
  assert words['compilation'] == '20.0 s, by libtpu 1'


def test_gaps_are_told_where_there_are_any(record):
  words = words_of(record(peak=2**29))
  assert words['memory of a device'].endswith(', gaps between them 513.0 MiB')


def test_a_refusal_is_told_with_both_numbers(record):
  refused = record(refusal=Refusal(needed=40 * 2**30, available=15 * 2**30))
  words = words_of(refused)
  assert words['fits'] == (
    'no, refused by the compiler: 40.00 GiB for a device that has 15.00 GiB (v5e)'
  )
  assert words['memory of a device'] == (
    'weights 512.0 KiB, optimizer 1.0 KiB, images 32.0 KiB'
  )
  assert 'a step' not in words
  assert summary(refused) == (
    'v5e:2x2: toy, 428 pairs, 77 tokens, remat=none: refused, 40.00 GiB for a '
    'device that has 15.00 GiB'
  )
  untold = words_of(record(refusal=Refusal(needed=None, available=None)))
  assert 'an amount that is not told for a device that has 15.75 GiB' in untold['fits']


def test_a_program_that_fills_a_device_is_no_contradiction(record):
  words = words_of(record(temporaries=int(15.75 * 2**30)))
  assert words['fits'] == 'yes: all of the 15.75 GiB that a device has (v5e)'


def test_a_gpu_has_a_bound_in_place_of_an_estimate(record):
  found = record(topology='h100:8', compiler='plugin 1')
  words = words_of(found, 'h100:8')
  assert words['a step'] == (
    'no estimate of the compiler; at the peak of 989 TFLOP/s 1.7 ms'
  )
  assert 'its parts' not in words
  assert 'fits, 1.00 GiB for a device that has 59.32 GiB' in summary(found)


def test_the_program_of_cpus_is_labelled_as_such(record):
  found = record(compiler=None)
  words = words_of(found)
  assert 'memory of each CPU' in words
  assert words['compilation'] == '20.0 s, for CPU devices'
  assert not {'fits', 'a step', 'memory of a device'} & set(words)
  assert 'for CPU devices, 1.00 GiB' in summary(found)
