"""RDONet: learned image compression with a coding tree, in JAX."""
