"""Text → instructions: what a Dockerfile and a ``.dockerignore`` say, with every mistake at its place. Pure.

parse           bytes → ``Dockerfile``; ``parse_trigger`` for the ONBUILD of a base image
instructions    one frozen type per instruction
source          files and spans
words           quotes, escapes and ``$variables`` of a word
ignore          which paths of a context are left out
lint            the lint rules that the text alone decides; ``lint_options``: which are to be heeded;
                ``lint_rules``: what each asks for
"""
