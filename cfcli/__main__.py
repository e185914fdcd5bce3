"""``python -m cfcli``."""

from cfcli.cli.app import main

if __name__ == "__main__":
    main()
