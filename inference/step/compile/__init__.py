"""A traced step made lean and compiled."""
