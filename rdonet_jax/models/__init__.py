"""The networks: RDONet, and the linear transform coder that it starts training from."""
