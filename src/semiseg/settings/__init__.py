"""What a user sets: configuration, options, environment, and what is wrong with them."""
