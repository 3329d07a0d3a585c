"""`python -m frostline` is the same as `frostline`."""

import sys


def main(command: str | None = None) -> None:
    """Imports the program within, so that Ctrl-C in its first moments is answered as later."""
    try:
        from frostline.cli.main import main as run
    except KeyboardInterrupt:
        print("frostline: interrupted by SIGINT", file=sys.stderr)
        sys.exit(130)
    run(command)


if __name__ == "__main__":
    main()
