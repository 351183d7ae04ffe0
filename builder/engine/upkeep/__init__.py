"""What the store holds and how much room it takes, and how what nobody wants goes."""
