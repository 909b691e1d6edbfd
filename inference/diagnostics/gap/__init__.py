"""The distance of a guide from the posterior, taken apart: its family, and the network that sets it."""
