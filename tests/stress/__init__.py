"""Runs that take long: interruptions, a long life of one process, places where writing fails."""
