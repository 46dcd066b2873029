"""Statistics of paired scores: intervals, tests, ranks. They know numbers, not runs."""
