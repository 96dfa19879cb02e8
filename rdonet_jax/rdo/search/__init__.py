"""The search for a rate-distortion-optimized partition.

The cost function takes several candidate partitions at once. `fast` and `original` know partitions
and costs alone, not networks. `regions` divides an image into the parts that are searched one after
the other, and joins their partitions.
"""
