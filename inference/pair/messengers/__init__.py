"""Effect handlers of jensen's own."""
