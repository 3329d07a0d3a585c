"""The same program as `frostline train`, for a checkout."""

from frostline.cli import main

if __name__ == "__main__":
    main("train")
