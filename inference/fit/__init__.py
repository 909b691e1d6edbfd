"""The result of every method: draws, predictions, display, ArviZ, files."""
