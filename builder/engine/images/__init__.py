"""The images of the store, as Docker's other commands have them: found, told, compared, brought and sent away."""
