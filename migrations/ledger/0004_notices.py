"""What a notice said about whom, so that a file that was touched since needs another; and what thrashes."""

from typing import Any

STATEMENTS = (
    # The class's clock and the identity of the file that was named: a younger clock, or another file, voids the notice.
    "ALTER TABLE notice ADD COLUMN clock_at INTEGER",
    "ALTER TABLE notice ADD COLUMN inode INTEGER",
    "ALTER TABLE notice ADD COLUMN birth_ns INTEGER",
    "ALTER TABLE notice ADD COLUMN reason TEXT NOT NULL DEFAULT 'expired'",
    "CREATE INDEX notice_class ON notice (class, published)",
    "CREATE INDEX notice_goes_at ON notice (goes_at)",
    # When a file that a quota or a watermark took was found at its place again: thrash.
    "ALTER TABLE action ADD COLUMN recreated_at INTEGER",
    "CREATE INDEX action_recreated ON action (class, recreated_at) WHERE recreated_at IS NOT NULL",
    "PRAGMA user_version = 4",
)


def up(_migrator: Any, db: Any) -> None:
    """Make schema version 4."""
    for statement in STATEMENTS:
        db.execute_sql(statement)
