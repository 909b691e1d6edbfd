"""A model and its guide as one program: structure, terms, and every fault that can be seen before a fit."""
