"""Random draws as an input of the program: recorded, replayed, noticed."""
