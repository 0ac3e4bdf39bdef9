"""What changes or refuses a write before it is stored: built-in admission and the operators' webhooks."""
