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
OPSET = 18  # of ONNX
