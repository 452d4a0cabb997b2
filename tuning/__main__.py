"""`python -m tuning`, or `python -m keras_preact.tuning`: the command `keras-preact tune`."""

import sys

from keras_preact.cli import main

if __name__ == "__main__":
    sys.exit(main(["tune", *sys.argv[1:]]))
