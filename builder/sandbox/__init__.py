"""Running commands: becoming root in a namespace once (gate), and a command's life in its own (runner, enter)."""
