"""``python -m cactus`` is the command ``cactus``."""

from cactus.cli.main import main

if __name__ == "__main__":
    main()
