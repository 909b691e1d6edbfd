"""Simulation-based calibration: data drawn from the model, fits of them, and where the truth ranks among the draws."""
