"""``run`` and what it leaves behind, and images made of that."""
