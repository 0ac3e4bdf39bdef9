"""What the served kinds look like: names, structure, defaults, validation, documentation."""
