"""`python -m flowwatch`."""

from flowwatch.cli import main

if __name__ == "__main__":
    main()
