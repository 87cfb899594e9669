"""Which files went together: a run that removes a whole child directory of a class names it with each of its files."""

from typing import Any


def up(_migrator: Any, db: Any) -> None:
    """Add the column (text, escaped as in `path`; NULL: it went by itself) and its index."""
    db.execute_sql("ALTER TABLE action ADD COLUMN child TEXT")
    db.execute_sql("CREATE INDEX action_child ON action (child) WHERE child IS NOT NULL")
    db.execute_sql("PRAGMA user_version = 3")
