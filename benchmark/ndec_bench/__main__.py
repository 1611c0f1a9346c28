"""The program ``ndec-bench``: Ctrl-C is answered from the first import on."""

import os
import sys


def main() -> None:
    """Run the command line and end the process with its documented exit code."""
    try:
        from ndec_bench.cli import main as run

        run()
    except KeyboardInterrupt:  # before a command began, or for the second time
        sys.stderr.write("ndec-bench: interrupted: stopped; run the same command again to go on\n")
        sys.stderr.flush()
        os._exit(6)


if __name__ == "__main__":
    main()
