"""The command line: arguments, environment, rendering and exit codes. The only room that prints."""
