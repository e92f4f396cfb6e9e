"""From a config to objects: where a run reads its fields, once."""
