"""The version, where all of the package may import it."""

__version__ = "0.2.0.dev0"
