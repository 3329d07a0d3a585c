"""`python -m frostline` runs the `frostline` command."""

import os
import sys


def main(command: str | None = None) -> None:
    """Print help before the program is imported. Import it inside the function, so that Ctrl-C during the import prints
    no traceback either."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the shell (`>&-`)
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w", encoding="utf-8"))
    try:
        from frostline.cli.help import print_help

        if print_help(command):
            return
        from frostline.cli.main import main as run
    except KeyboardInterrupt:
        print("frostline: interrupted by SIGINT", file=sys.stderr)
        sys.exit(130)
    run(command)


if __name__ == "__main__":
    main()
