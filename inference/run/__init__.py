"""What runs share: early stopping, history, progress, interrupts, the start at the data."""
