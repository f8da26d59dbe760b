"""The engine of run directories: options in, a directory out. It knows no problem by name."""
