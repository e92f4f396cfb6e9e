"""Records, beside protobuf's own class of them."""

import pytest
from tensorflow_datasets.proto import tf_example_generated_pb2 as protos

from harma_jax.data.builders.records import record_of

ORDER = ('caption_rows', 'captions', 'image_file', 'image')


def example_of(*, image, image_file, captions, rows):
  example = protos.Example()
  feature = example.features.feature
  feature['image'].bytes_list.value.append(image)
  feature['image_file'].bytes_list.value.append(image_file.encode())
  feature['captions'].bytes_list.value.extend(text.encode() for text in captions)
  feature['caption_rows'].int64_list.value.extend(rows)
  return example


def features_in_order(example):
  """Protobuf writes a map of one feature in one way; those of several lie in a row."""
  written = []
  for name in ORDER:
    one = protos.Example()
    one.features.feature[name].CopyFrom(example.features.feature[name])
    written.append(one.features.SerializeToString())
  return b''.join(written)


@pytest.mark.parametrize('size', [0, 1, 127, 128, 16_383, 16_384, 2**21])
@pytest.mark.parametrize('name', ['a', 'b' * 100])
@pytest.mark.parametrize(
  ('captions', 'first'), [(['one'], 0), (['', 'ü' * 64, 'three'], 7 * 2**32 + 126)]
)
def test_a_record_is_what_protobuf_writes(size, name, captions, first):
  row = {
    'image': b'\xff' * size,
    'image_file': name,
    'captions': captions,
    'rows': range(first, first + len(captions)),
  }
  record, example = record_of(**row), example_of(**row)
  assert protos.Example.FromString(record) == example
  assert record.endswith(features_in_order(example))
  assert len(record) == example.ByteSize()
