"""`python -m stablebench` is `stablebench`."""

from stablebench.cli.app import main

if __name__ == "__main__":
    main()
