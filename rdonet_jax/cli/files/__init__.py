"""Which files a command works on: names, lists, batches, standard input and output."""
