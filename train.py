"""Run `frostline train` from a checkout."""

from frostline.__main__ import main

if __name__ == "__main__":
    main("train")
