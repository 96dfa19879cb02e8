"""The search for a rate-distortion-optimized partition.

The cost function takes several candidate partitions at once. `fast` and `original` know partitions
and costs alone, not networks. `regions` searches the regions of an image one after the other, and
joins their partitions.
"""
