"""The formats of exports."""

FORMATS = ('harma', 'adapter', 'open_clip', 'huggingface', 'huggingface-remote')
