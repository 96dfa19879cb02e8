"""The options of the command line: their types, parsers, and settings from files."""
