"""What methods are built of besides losses: one mechanism per file."""
