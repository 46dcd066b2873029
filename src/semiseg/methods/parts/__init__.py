"""What two or more methods are built of besides losses: one mechanism per file."""
