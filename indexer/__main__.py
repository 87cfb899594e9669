"""`python -m indexer`, and the entry point of the `indexer` command."""

from __future__ import annotations

import gc
import sys


def main() -> None:
    """Run the command line and exit with its code."""
    # Modules, plans and rows are many, and hold no cycles: 5 % of a command's time that has little to do (measured).
    gc.set_threshold(50_000, 20, 50)
    from indexer.cli.main import run

    code = run(sys.argv[1:])
    gc.freeze()  # the interpreter's last collection would look at all of them once more
    sys.exit(code)


if __name__ == "__main__":
    main()
