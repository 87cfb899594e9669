"""How long the trash keeps a file is announced with the intent: a recovery knows it without the policy."""

from typing import Any


def up(_migrator: Any, db: Any) -> None:
    """Add the column; NULL for actions of before."""
    db.execute_sql("ALTER TABLE action ADD COLUMN trash_ttl INTEGER")
    db.execute_sql("PRAGMA user_version = 2")
