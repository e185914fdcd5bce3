"""cfcli: collaborative filtering on explicit ratings, from the shell."""

__version__ = "0.1.0"
