"""A step as C: one function for a graph."""
