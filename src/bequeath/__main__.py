"""`python -m bequeath`, and the console script `bequeath`."""

from __future__ import annotations

import signal
import sys


def main() -> None:
    """Run the command line; exits with 0, 1 (the run failed), 2 (the job is wrong) or 130."""
    from bequeath.cli import run_cli

    # A batch system says SIGTERM where a person says Ctrl-C: also between two fits it means 130.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(run_cli(sys.argv[1:]))


if __name__ == "__main__":
    main()
