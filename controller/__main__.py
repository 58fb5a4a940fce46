"""`python -m controller`, and the `acaops` command."""

from controller import cli


def main() -> None:
    cli.app()


if __name__ == "__main__":
    main()
