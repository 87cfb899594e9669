"""TOML to frozen values, checked whole: what the store is, what it keeps and how long, and who said so."""

from __future__ import annotations

from indexer.config.load import Config, StoreConfig, default_config, load_config, read_config
from indexer.config.trust import read_trusted

__all__ = ["Config", "StoreConfig", "default_config", "load_config", "read_config", "read_trusted"]
