"""The run of every method: the loop, history, progress, early stopping, interrupts, the start at the data."""
