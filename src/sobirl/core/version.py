"""The version, once: packaging, the command line and run directories read it here."""

__version__ = "0.2.0"
