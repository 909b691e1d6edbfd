"""What a study found, for people: a table and a page."""
