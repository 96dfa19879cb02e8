"""What turns gradients into updates: Adam, Muon and SOAP."""
