"""Bytes of arrays as a compiled program lays them out."""

import pytest

from harma_jax.rehearsal.shapes import arrays_of


@pytest.mark.parametrize(
  ('text', 'plain', 'padded'),
  [
    ('f32[]', 4, 4),
    ('pred[10]{0}', 10, 10),
    ('f32[12]{0:T(128)}', 48, 512),
    ('s32[]{:T(128)}', 4, 4),
    ('bf16[107,77,512]{2,1,0:T(8,128)(2,1)}', 107 * 77 * 1024, 107 * 80 * 1024),
    ('f32[4,8,16]{1,2,0:T(8,128)}', 2048, 4 * 16 * 128 * 4),  # the fastest axis is 1
    ('f8e4m3fn[3,5]{1,0}', 15, 15),
    ('u4[10]', 5, 5),
    ('c64[2]', 16, 16),
  ],
)
def test_an_array_lies_in_whole_tiles(text, plain, padded):
  (array,) = arrays_of(text)
  assert (array.bytes, array.padded_bytes) == (plain, padded)


def test_a_tuple_has_several_and_their_memories_differ():
  text = '(f32[4,8]{1,0:T(8,128)S(1)}, bf16[2]{0}, /*index=5*/u32[]{:S(2)}, token[])'
  arrays = arrays_of(text)
  assert [array.dtype for array in arrays] == ['f32', 'bf16', 'u32', 'token']
  assert [array.space for array in arrays] == [1, 0, 2, 0]
  assert [array.bytes for array in arrays] == [128, 4, 4, 0]
