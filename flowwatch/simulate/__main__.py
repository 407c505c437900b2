"""`python -m flowwatch.simulate`."""

from flowwatch.simulate.command import simulate

if __name__ == "__main__":
    simulate(prog_name="python -m flowwatch.simulate")
