"""What ``semiseg check`` looks at: each case by itself, then all of them together."""
