"""Runs that take long: interruptions, a process that codes thousands of images, failing writes."""
