"""`python -m bpjax` is the same program as `bpjax`."""

from bpjax.cli import main

if __name__ == "__main__":
    main()
