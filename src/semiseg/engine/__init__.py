"""The loop that turns each yielded loss into one update. It knows no method, no dataset and no network."""
