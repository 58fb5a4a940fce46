"""`python -m inference`."""

from inference import boot

if __name__ == "__main__":
    boot.main()
