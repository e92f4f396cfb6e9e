"""The scale on which RandAugment measures strength."""

MAX_LEVEL = 10
