"""Progress bars and tables in a terminal."""
