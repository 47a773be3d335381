"""stablebench: does its gradient survive, does it learn, what does it cost?"""

__version__ = "0.1.0"
