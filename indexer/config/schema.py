"""The configuration, whole: every key with its kind, default and meaning. The reference is generated from it."""

from __future__ import annotations

from indexer.config.kinds import (
    ANY_GLOBS,
    BOOLEAN,
    DIRECTORIES,
    DURATION,
    FRACTION,
    GLOBS,
    NAME,
    PATH,
    POSITIVE_DURATION,
    SIZE,
    TEXTS,
    Key,
    Table,
    choice,
    choices,
    integer,
    list_of,
)
from indexer.config.listen import LISTEN
from indexer.config.nested import FILE_MODE, FILENAME_TIME, MIN_FREE, MODE, QUOTA, SHARES
from indexer.config.when import JOBSTORE, WHEN, ZONE

_LABELS = list_of(NAME.parse, "list of class names", least=1)

STORE = Table(
    "store",
    "The tree, and how it is watched.",
    (
        Key("path", PATH, None, "Root of the store. Default: the directory of the file."),
        Key(
            "state", PATH, None, "Where the databases lie, if not in `.indexer/` below the root: a local disk, for one."
        ),
        Key(
            "mode",
            choice("report", "enforce"),
            "report",
            "`report` plans and records; only `enforce` removes anything.",
        ),
        Key(
            "backend",
            choice("auto", "fanotify", "inotify", "native", "poll"),
            "auto",
            "Where events come from; `auto` takes the best that works and says which.",
        ),
        Key("filesystems", DIRECTORIES, [], "Other filesystems mounted below the root that belong to the store."),
        Key("ignore", ANY_GLOBS, [], "What is not indexed at all."),
        Key("ignore_readers", TEXTS, None, "Programs whose reading is no use of a file: backup, antivirus (fanotify)."),
        Key("access_resolution", DURATION, "60s", "A later use is written when it is newer by this much."),
    ),
)

GUARDS = Table(
    "guards",
    "What a run may do at most. The first three refuse it as a whole (exit 3); the maxima cut it to its oldest part;"
    " the last ends it.",
    (
        Key(
            "max_fraction",
            FRACTION,
            0.5,
            "Share of the store's live files that may go, per run and per rolling 24 h. A class may set its own.",
        ),
        Key("min_files", integer(0), 100, "`max_fraction` counts once more files than this are concerned."),
        Key(
            "max_clock_step", POSITIVE_DURATION, "1d", "A wall clock that stepped further than this stops all removal."
        ),
        Key(
            "override",
            choices("max_fraction", "everything", "max_clock_step"),
            None,
            "Guards that `cleanup --override` may set aside where nobody is at a terminal.",
        ),
        Key("max_files", integer(1), 100_000, "Files per run."),
        Key("max_bytes", SIZE, "500GiB", "Bytes per run."),
        Key(
            "max_rate",
            integer(1),
            None,
            "Files per second that are removed at most, on the average; not under a watermark. Absent: no limit.",
        ),
        Key("suspend_errors", integer(1), 100, "Failures in a row after which a run gives up: `suspended`."),
    ),
)

CLASS = Table(
    "class",
    "A retention: the first class in the file that matches a path decides. What no class matches is never touched.",
    (
        Key("name", NAME, None, "Its name in reports, plans and the ledger.", required=True),
        Key("match", GLOBS, None, "gitignore-style globs, relative to the store.", required=True),
        Key("exclude", ANY_GLOBS, [], "Never touched, though the class matches."),
        Key("tier", NAME, "hot", "A label: hot, warm, cold, or any other."),
        Key("ttl", POSITIVE_DURATION, None, "Age at which a file goes. Absent: kept forever."),
        Key(
            "clock",
            choices("mtime", "atime", "ctime", "btime", "filename"),
            ["mtime"],
            "What the age counts from. Several: the youngest counts.",
        ),
        Key("arrival_floor", BOOLEAN, True, "No file is older than its arrival, whatever times it was copied with."),
        Key("min_age", DURATION, "1h", "Nothing goes sooner than this after its last write or arrival."),
        Key(
            "skip_in_use",
            choice("readers", "writers", "no"),
            "readers",
            "Keep what somebody has open: at all, for writing, or not.",
        ),
        Key("unit", choice("file", "child"), "file", "What ages as one: a file, or a direct child directory."),
        Key("filename_time", FILENAME_TIME, None, "How the clock `filename` reads a time from a name."),
        Key(
            "action",
            choice("trash", "delete", "system-trash"),
            "trash",
            "Trash can be restored for `trash_ttl`; the system's only by its desktop.",
        ),
        Key("trash_ttl", POSITIVE_DURATION, "24h", "How long the trash keeps a file."),
        Key(
            "remove_empty_dirs",
            BOOLEAN,
            False,
            "Also remove directories that a run emptied, or that have been empty for `min_age`.",
        ),
        Key(
            "whole_directories",
            BOOLEAN,
            False,
            "A directory whose every entry goes vanishes in one rename, and comes back in one if anything differs. "
            "Not on overlayfs.",
        ),
        Key("max_fraction", FRACTION, None, "Overrides `guards.max_fraction` for this class."),
        Key("warn_before", POSITIVE_DURATION, None, "A file goes only this long after a published notice named it."),
        Key("quota", QUOTA, None, "How much there may be; the oldest goes first."),
        Key("evict", BOOLEAN, False, "Let the quota of a class without ttl remove files, rather than warn."),
    ),
    many=True,
)

WATERMARK = Table(
    "watermark",
    "When a filesystem of the store fills up; whichever is reached first.",
    (
        Key("space", SHARES, None, "Used share of the space: start above `high`, stop below `low`."),
        Key("min_free", MIN_FREE, None, "Free bytes: start below `at`, stop above `until`."),
        Key("inodes", SHARES, None, "Used share of the inodes."),
        Key(
            "capacity",
            SIZE,
            None,
            "What the store may take of the disk in all, trash included: `space` and `min_free` hold for it, too."
            " A project quota of the filesystem (ext4, xfs) needs no key.",
        ),
        Key("order", _LABELS, None, "The classes, in the order in which they give way.", required=True),
    ),
)

SCHEDULE = Table(
    "schedule",
    "When the service runs what. A crontab line, `every 10 minutes`, or `every day at 02:00`.",
    (
        Key("cleanup", WHEN, None, "Trash past its ttl, ttl, quotas, watermarks."),
        Key("quota", WHEN, None, "Quotas only."),
        Key("reconcile", WHEN, None, "The verifying pass over every file."),
        Key("timezone", ZONE, "UTC", "Zone of the times above."),
        Key(
            "jitter",
            DURATION,
            "0s",
            "Each start is put off by a random part of this, so that many hosts do not start at once.",
        ),
        Key(
            "jobstore",
            JOBSTORE,
            None,
            "Where several processes share their jobs: `redis://…` or a database. Default: memory.",
        ),
    ),
)

PERMISSIONS = Table(
    "permissions",
    "What modes and owners should be; `doctor` checks them, `doctor --fix` sets them.",
    (
        Key("dir_mode", MODE, None, "Mode of directories."),
        Key("file_mode", FILE_MODE, None, "Mode of files; never setuid or setgid."),
        Key("owner", NAME, None, "User."),
        Key("group", NAME, None, "Group."),
    ),
)

HOLDS = Table(
    "holds",
    "Protection beside the holds of `indexer hold`.",
    (
        Key(
            "xattr",
            BOOLEAN,
            False,
            "Honour the attribute user.indexer.hold: whoever may write a file may keep it for ever.",
        ),
    ),
)
LEDGER = Table(
    "ledger",
    "The journal of removals.",
    (
        Key("keep", POSITIVE_DURATION, "400d", "Runs older than this are archived as JSON lines, and leave it."),
        Key(
            "thrash",
            POSITIVE_DURATION,
            "24h",
            "What a quota or a watermark took and somebody made again within this counts as thrash.",
        ),
    ),
)
PUBLISH = Table(
    "publish",
    "A copy of the views for other programs, replaced atomically.",
    (
        Key("path", PATH, None, "The SQLite file.", required=True),
        Key("every", POSITIVE_DURATION, "15m", "How often."),
        Key("mode", MODE, "0640", "Its mode."),
        Key("group", NAME, None, "Its group."),
    ),
)
HTTP = Table(
    "http",
    "Health, metrics and status. Absent: off.",
    (
        Key("listen", LISTEN, None, "`127.0.0.1:8181` or `unix:PATH`.", required=True),
        Key("token_file", PATH, None, "File that holds the token; needed for any address beyond loopback."),
        Key("allowed_hosts", TEXTS, None, "Values of Host that are answered."),
    ),
)
SERVICE = Table(
    "service",
    "The control socket.",
    (
        Key(
            "socket",
            PATH,
            None,
            "A second socket, for others. Default: `/run/indexer-PATH/control.sock`, with a group.",
        ),
        Key("mode", MODE, None, "Its mode. Default: 0660 with a group, else 0600."),
        Key("group", NAME, None, "Its group."),
        Key(
            "allow",
            choices("read", "protect", "remove", "restore"),
            ["read", "protect"],
            "What whoever may connect may ask for, beside root and the service's own user: look; hold and lease; start"
            " a cleanup by the policy in force; bring back from the trash.",
        ),
    ),
)
NOTIFY = Table(
    "notify",
    "Who is told of what will go, and of what goes wrong.",
    (
        Key(
            "command",
            TEXTS,
            None,
            "Program (by its whole path, or found on PATH) and arguments, run without a shell; gets JSON on standard"
            " input.",
            required=True,
        ),
        Key("by", choice("class", "child", "owner"), "class", "One notice of removals for each."),
        Key("timeout", POSITIVE_DURATION, "30s", "After this the command is ended, and has failed."),
        Key("every", DURATION, "1h", "The same event about the same thing is told no more often than this."),
    ),
)

TABLES = (STORE, GUARDS, CLASS, WATERMARK, SCHEDULE, PERMISSIONS, HOLDS, LEDGER, PUBLISH, HTTP, SERVICE, NOTIFY)
