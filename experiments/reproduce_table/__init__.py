"""Trains and measures the published table anew, at any budget: docs/study.md."""
