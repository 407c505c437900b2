"""flowwatch: does the network do what we declared, and where does it not?"""

__version__ = "0.1.0"
