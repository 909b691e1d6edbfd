"""What every method returns, and all that a fit can do: draw, predict, show itself, be saved and read."""
