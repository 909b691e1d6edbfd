"""What models of every kind share: checks, inputs of any kind, number types, floors, closed-form helpers."""
