"""File formats beyond what Pillow reads and writes by itself."""
