"""The formats of exports."""

FORMATS = (
  'harma',
  'adapter',
  'peft',
  'open_clip',
  'huggingface',
  'huggingface-remote',
  'onnx',
)
ADAPTERS_ALONE = ('adapter', 'peft')  # of these formats the backbone is not a part
OPSET = 18  # of ONNX
