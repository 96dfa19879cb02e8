"""The folder of a training run, local or at a URL, and everything that lies in it."""
