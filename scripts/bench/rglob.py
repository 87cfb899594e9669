"""The yardstick of `plan`: what people write first, `Path.rglob` and a stat of every file.

python -m scripts.bench.rglob ROOT TTL_SECONDS
"""

from __future__ import annotations

import json
import stat
import sys
import time
from pathlib import Path


def main() -> None:
    """Print, as JSON, how many files are older than their time to live."""
    root, ttl = Path(sys.argv[1]), float(sys.argv[2])
    now = time.time()
    due = []
    for path in root.rglob("*"):
        status = path.stat()
        if stat.S_ISREG(status.st_mode) and now - status.st_mtime > ttl:
            due.append(str(path))
    print(json.dumps({"due": len(due)}))


if __name__ == "__main__":
    main()
