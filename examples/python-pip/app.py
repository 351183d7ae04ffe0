"""Says a number as people do."""

import getpass
import sys

import humanize

for word in sys.argv[1:]:
    print(f"{getpass.getuser()} counts {humanize.intcomma(int(word))} files")
