"""What people and programs are told: tables, SQL, explanations, and what is wrong with this machine."""

from __future__ import annotations

from indexer.reports.tables import report

__all__ = ["report"]
