"""Crops of images, and batches of them for the steps of a training."""
