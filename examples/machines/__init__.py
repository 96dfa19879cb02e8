"""Images for machines: a codec that spends its bits where a detector needs them."""
