"""Discrete latents summed out, and drawn given everything else."""
