"""Control groups, version 2: what a command may use (limits), where its group can be (facts, places), and that made."""
