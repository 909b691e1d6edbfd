"""Data that are named on the command line: read, understood, and made what a model takes."""
