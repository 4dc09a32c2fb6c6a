"""``python -m flowstone`` is the ``flowstone`` command."""

from flowstone.cli.main import main

if __name__ == "__main__":
    main()
