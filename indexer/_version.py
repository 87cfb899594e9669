"""The version, for every layer: `indexer/__init__` also names what lies above them."""

__version__ = "0.1.0"
