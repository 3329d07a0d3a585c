"""`python -m frostline` runs the `frostline` command."""

import sys


def main(command: str | None = None) -> None:
    """Import the program inside the function, so that Ctrl-C during the import prints no traceback either, and `--help`
    before it, which needs none of it."""
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
