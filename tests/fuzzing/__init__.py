"""Hostile inputs: mutated compressed files, weights files and image files."""
