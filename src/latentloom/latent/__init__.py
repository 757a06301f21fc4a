"""What is true of points with classes: distances, groups, principal directions."""
