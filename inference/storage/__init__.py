"""Files that are whole or absent, and names in them that outlive a move."""
