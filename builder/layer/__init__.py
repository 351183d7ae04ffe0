"""Changes → layers, and back: what a tree holds, what a tar tells, and how one becomes the other."""
