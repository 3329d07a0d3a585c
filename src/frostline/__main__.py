"""`python -m frostline` is the same as `frostline`."""

from frostline.cli import main

if __name__ == "__main__":
    main()
