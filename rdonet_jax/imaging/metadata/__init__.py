"""What a file holds beside pixels: EXIF, XMP, ICC profiles, CICP code points, resolution."""
